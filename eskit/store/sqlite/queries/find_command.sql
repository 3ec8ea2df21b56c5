SELECT c.fingerprint, s.name, c.version, c.global_position, c.recorded_at, c.response
FROM commands AS c
JOIN streams AS s ON s.stream_id = c.stream_id
WHERE c.tenant = ?1 AND c.command_id = ?2
