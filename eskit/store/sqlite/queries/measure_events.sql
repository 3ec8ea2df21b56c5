SELECT global_position, length(data) + length(metadata) FROM events
WHERE global_position > ?1
ORDER BY global_position
LIMIT ?2
