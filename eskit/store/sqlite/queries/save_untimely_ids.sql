-- The given ids of the events between two positions. tells_time is a function of the connection.
INSERT OR IGNORE INTO event_ids (event_id, global_position)
SELECT event_id, global_position
FROM events
WHERE global_position > ?1 AND global_position <= ?2 AND NOT tells_time(CAST(event_id AS BLOB), recorded_at)
ORDER BY global_position
