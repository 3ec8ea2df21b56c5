SELECT e.global_position, s.name, e.version, e.event_id, k.event_type, e.recorded_at, s.tenant, e.metadata, e.data, e.claims
FROM events AS e
CROSS JOIN streams AS s ON s.stream_id = e.stream_id
CROSS JOIN kinds AS k ON k.kind_id = e.kind_id
WHERE e.global_position > ?1 AND e.global_position < ?2
    AND (?4 IS NULL OR s.tenant IN (SELECT value FROM json_each(?4)))
ORDER BY e.global_position
LIMIT ?3
