-- The wanted streams are JSON: a list of pairs of name and tenant; empty for all.
SELECT c.tenant, c.command_id, c.fingerprint, s.name, c.version, c.global_position, c.recorded_at, c.response
FROM commands AS c
CROSS JOIN streams AS s ON s.stream_id = c.stream_id
WHERE ?1 = '[]'
    OR EXISTS (
        SELECT 1
        FROM json_each(?1) AS wanted
        WHERE json_extract(wanted.value, '$[0]') = s.name AND json_extract(wanted.value, '$[1]') = s.tenant
    )
ORDER BY c.tenant, c.command_id
