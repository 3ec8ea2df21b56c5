SELECT c.tenant, c.index_name, c.value, s.name
FROM claims AS c
CROSS JOIN streams AS s ON s.stream_id = c.stream_id
ORDER BY c.tenant, c.index_name, c.value
