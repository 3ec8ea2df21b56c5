SELECT s.name, s.tenant, s.category, last.version, coalesce(first.recorded_at, last.recorded_at), last.recorded_at
FROM streams AS s
CROSS JOIN events AS last
    ON last.stream_id = s.stream_id
    AND last.version = (SELECT max(v.version) FROM events AS v WHERE v.stream_id = s.stream_id)
LEFT JOIN events AS first
    ON first.stream_id = s.stream_id AND first.version = 1
WHERE s.name = ?1 AND s.tenant = ?2
