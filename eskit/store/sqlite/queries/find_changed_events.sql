-- Events that are not what was recorded. event_checksum is a function of the connection.
SELECT s.name, s.tenant, e.version, e.global_position
FROM events AS e
CROSS JOIN streams AS s ON s.stream_id = e.stream_id
WHERE e.checksum != event_checksum(coalesce(CAST(e.metadata AS BLOB), x''), coalesce(CAST(e.data AS BLOB), x''))
ORDER BY e.global_position
