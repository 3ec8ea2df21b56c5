SELECT e.global_position, ?5, e.version, e.event_id, k.event_type, e.recorded_at, ?6, e.metadata, e.data, e.claims
FROM events AS e
CROSS JOIN kinds AS k ON k.kind_id = e.kind_id
WHERE e.stream_id = ?1 AND e.version > ?2 AND e.version < ?3
ORDER BY e.version DESC
LIMIT ?4
