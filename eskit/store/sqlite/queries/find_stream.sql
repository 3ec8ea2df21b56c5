SELECT s.stream_id,
       e.version,
       e.global_position
FROM streams AS s
LEFT JOIN events AS e
    ON e.stream_id = s.stream_id
    AND e.version = (SELECT max(v.version) FROM events AS v WHERE v.stream_id = s.stream_id)
WHERE s.name = ?1 AND s.tenant = ?2
