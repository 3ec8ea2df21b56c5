SELECT global_position, recorded_at
FROM events
WHERE global_position <= ?1
ORDER BY global_position DESC
LIMIT 1
