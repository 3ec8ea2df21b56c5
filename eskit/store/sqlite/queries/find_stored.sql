SELECT e.version, e.global_position
FROM streams AS s
CROSS JOIN events AS e ON e.stream_id = s.stream_id
WHERE s.name = ?1 AND s.tenant = ?2 AND e.event_id = ?3
ORDER BY e.version DESC
LIMIT 1
