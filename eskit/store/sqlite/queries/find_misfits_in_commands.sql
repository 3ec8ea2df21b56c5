SELECT
    CASE
        WHEN typeof(c.tenant) != 'text' OR c.tenant != s.tenant THEN 'tenant'
        WHEN typeof(c.command_id) != 'text' THEN 'command_id'
        WHEN typeof(c.fingerprint) != 'text' THEN 'fingerprint'
        WHEN typeof(c.version) != 'integer' OR c.version < 0 THEN 'version'
        WHEN typeof(c.global_position) != 'integer' OR c.global_position < 0 THEN 'global_position'
        WHEN typeof(c.recorded_at) != 'integer' OR c.recorded_at NOT BETWEEN 0 AND 253402300799999999 THEN 'recorded_at'
        WHEN typeof(c.response) != 'blob' THEN 'response'
    END AS wrong,
    CAST(c.command_id AS TEXT),
    0,
    coalesce(CAST(s.name AS TEXT), ''),
    coalesce(CAST(s.tenant AS TEXT), '')
FROM commands AS c
LEFT JOIN streams AS s ON s.stream_id = c.stream_id
WHERE wrong IS NOT NULL
