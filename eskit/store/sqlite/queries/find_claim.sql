SELECT s.name
FROM claims AS c
JOIN streams AS s ON s.stream_id = c.stream_id
WHERE c.tenant = ?1 AND c.index_name = ?2 AND c.value = ?3
