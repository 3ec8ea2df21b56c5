-- Commands that led to an event which is not there, or not where they left it.
SELECT CAST(c.command_id AS TEXT), s.name, s.tenant, c.version, c.global_position
FROM commands AS c
CROSS JOIN streams AS s ON s.stream_id = c.stream_id
LEFT JOIN events AS e ON e.stream_id = c.stream_id AND e.version = c.version
WHERE typeof(c.version) = 'integer' AND typeof(c.global_position) = 'integer'
    AND c.version > 0
    AND e.global_position IS NOT c.global_position
ORDER BY c.global_position
