SELECT count(*) FROM events WHERE global_position > ?1 AND global_position < ?2
