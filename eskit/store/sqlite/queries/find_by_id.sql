-- The event with an id between two positions; where an older eskit took it twice, the first.
SELECT e.global_position, s.name, e.version, e.event_id, k.event_type, e.recorded_at, s.tenant, e.metadata, e.data, e.claims
FROM events AS e
CROSS JOIN streams AS s ON s.stream_id = e.stream_id
CROSS JOIN kinds AS k ON k.kind_id = e.kind_id
WHERE e.global_position BETWEEN ?2 AND ?3 AND e.event_id = ?1
ORDER BY e.global_position
LIMIT 1
