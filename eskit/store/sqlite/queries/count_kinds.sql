SELECT count(*)
FROM kinds AS k
CROSS JOIN events AS e ON e.kind_id = k.kind_id
WHERE k.event_type IN (SELECT value FROM json_each(?3))
    AND e.global_position > ?1 AND e.global_position < ?2
