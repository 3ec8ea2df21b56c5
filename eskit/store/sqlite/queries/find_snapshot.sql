SELECT s.name, s.tenant, p.version, p.event_id, p.state_schema, p.fold_version, p.created_at, p.checksum, p.state
FROM streams AS s
CROSS JOIN snapshots AS p ON p.stream_id = s.stream_id
WHERE s.name = ?1 AND s.tenant = ?2 AND p.version < ?3 AND p.state_schema = ?4 AND p.fold_version = ?5
ORDER BY p.version DESC
LIMIT 1
