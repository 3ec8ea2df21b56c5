-- The same for more kinds than can be merged: nearly the whole log, in its own order.
SELECT e.global_position, e.event_id, k.event_type,
    iif(e.data = x'' AND substr(e.metadata, 1, 14) = '{"erased":true', NULL, e.data)
FROM events AS e
CROSS JOIN kinds AS k ON k.kind_id = e.kind_id
WHERE e.global_position > ?1 AND e.global_position < ?2
    AND +e.kind_id IN (SELECT value FROM json_each(?4))
ORDER BY e.global_position
LIMIT ?3
