-- Remembered commands that are not what was recorded. command_checksum is a function of the connection.
SELECT CAST(c.command_id AS TEXT), s.name, s.tenant, c.global_position
FROM commands AS c
CROSS JOIN streams AS s ON s.stream_id = c.stream_id
WHERE c.record_checksum IS NOT command_checksum(
    CAST(c.tenant AS BLOB),
    CAST(c.command_id AS BLOB),
    CAST(c.fingerprint AS BLOB),
    CAST(s.name AS BLOB),
    c.version,
    c.global_position,
    c.recorded_at,
    CAST(c.response AS BLOB)
)
    OR c.record_checksum IS NULL
ORDER BY c.global_position, c.command_id
