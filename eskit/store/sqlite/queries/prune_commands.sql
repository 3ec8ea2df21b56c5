DELETE FROM commands WHERE recorded_at < ?1
