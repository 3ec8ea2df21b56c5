-- What stands in a damaged row is read like any other: texts as bytes, and whether all can be right.
SELECT
    s.name,
    s.tenant,
    p.version,
    CAST(p.event_id AS BLOB),
    CAST(p.state_schema AS BLOB),
    p.fold_version,
    p.created_at,
    CAST(p.checksum AS BLOB),
    CAST(p.state AS BLOB),
    typeof(p.version) = 'integer' AND p.version > 0
        AND typeof(p.event_id) = 'blob' AND length(p.event_id) = 16
        AND typeof(p.state_schema) = 'text'
        AND typeof(p.fold_version) = 'integer'
        AND typeof(p.created_at) = 'integer' AND p.created_at BETWEEN 0 AND 253402300799999999
        AND typeof(p.checksum) = 'text'
        AND typeof(p.state) = 'blob'
FROM streams AS s
CROSS JOIN snapshots AS p ON p.stream_id = s.stream_id
WHERE s.name = ?1 AND s.tenant = ?2
ORDER BY p.version
