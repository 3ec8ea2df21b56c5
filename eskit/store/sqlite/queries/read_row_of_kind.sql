-- What handling needs of the events of one kind; an erased event has no payload.
SELECT e.global_position, e.event_id, k.event_type,
    iif(e.data = x'' AND substr(e.metadata, 1, 14) = '{"erased":true', NULL, e.data)
FROM events AS e
CROSS JOIN kinds AS k ON k.kind_id = e.kind_id
WHERE e.kind_id = :kind AND e.global_position > ?1 AND e.global_position < ?2
