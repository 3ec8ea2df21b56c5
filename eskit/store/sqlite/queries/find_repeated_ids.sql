-- Every event whose id an earlier one has.
SELECT e.event_id, e.global_position, s.name, s.tenant, first.global_position
FROM (
    SELECT event_id, min(global_position) AS global_position
    FROM events
    GROUP BY event_id
    HAVING count(*) > 1
) AS first
CROSS JOIN events AS e
    ON e.event_id = first.event_id AND e.global_position > first.global_position
CROSS JOIN streams AS s ON s.stream_id = e.stream_id
ORDER BY e.global_position
