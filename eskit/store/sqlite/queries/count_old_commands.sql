SELECT count(*) FROM commands WHERE recorded_at < ?1
