SELECT global_position, version, metadata FROM events
WHERE stream_id = ?1 AND version > ?2
ORDER BY version
LIMIT ?3
