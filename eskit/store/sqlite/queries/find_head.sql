SELECT global_position, recorded_at
FROM events
ORDER BY global_position DESC
LIMIT 1
