-- All an append looks up: its stream, the stream's last event, the log's last event, and the kind
-- of its first event. Always one row; what is not there is NULL.
SELECT s.stream_id, last.version, last.global_position, head.global_position, head.recorded_at, k.kind_id
FROM (SELECT 1)
LEFT JOIN streams AS s ON s.name = ?1 AND s.tenant = ?2
LEFT JOIN events AS last
    ON last.stream_id = s.stream_id
    AND last.version = (SELECT max(v.version) FROM events AS v WHERE v.stream_id = s.stream_id)
LEFT JOIN events AS head ON head.global_position = (SELECT max(h.global_position) FROM events AS h)
LEFT JOIN kinds AS k ON k.category = ?3 AND k.event_type = ?4
