-- The event with an id between two positions; where an older eskit took it twice, the first.
SELECT e.global_position, s.name, s.tenant, e.version, k.event_type, e.metadata, e.claims, e.data
FROM events AS e
CROSS JOIN streams AS s ON s.stream_id = e.stream_id
CROSS JOIN kinds AS k ON k.kind_id = e.kind_id
WHERE e.global_position BETWEEN ?2 AND ?3 AND e.event_id = ?1
ORDER BY e.global_position
LIMIT 1
