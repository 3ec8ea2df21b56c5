-- Kept ids that are not those of the event there, and given ids that are not kept.
-- tells_time is a function of the connection.
SELECT coalesce(CAST(i.global_position AS INTEGER), 0)
FROM event_ids AS i
LEFT JOIN events AS e ON e.global_position = i.global_position
WHERE e.event_id IS NOT i.event_id
UNION ALL
SELECT e.global_position
FROM events AS e
WHERE NOT tells_time(CAST(e.event_id AS BLOB), e.recorded_at)
    AND NOT EXISTS (SELECT 1 FROM event_ids AS i WHERE i.event_id = e.event_id)
