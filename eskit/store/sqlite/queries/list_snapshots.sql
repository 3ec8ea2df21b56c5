SELECT s.name, s.tenant, p.version, p.event_id, p.state_schema, p.fold_version, p.created_at, p.checksum, p.state
FROM streams AS s
CROSS JOIN snapshots AS p ON p.stream_id = s.stream_id
WHERE (s.name, s.tenant, p.version) > (?1, ?2, ?3)
    AND s.name >= ?4 AND s.name < ?4 || char(0x10FFFF)
    AND (?5 IS NULL OR s.tenant = ?5)
ORDER BY s.name, s.tenant, p.version
LIMIT ?6
