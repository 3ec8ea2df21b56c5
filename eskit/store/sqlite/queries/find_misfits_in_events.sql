-- Values that no event has, and events whose stream or kind is not there, or not one of the other.
SELECT
    CASE
        WHEN typeof(e.version) != 'integer' OR e.version < 1 THEN 'version'
        WHEN typeof(e.event_id) != 'blob' OR length(e.event_id) != 16 THEN 'event_id'
        WHEN typeof(e.recorded_at) != 'integer' OR e.recorded_at NOT BETWEEN 0 AND 253402300799999999 THEN 'recorded_at'
        WHEN typeof(e.metadata) != 'text' THEN 'metadata'
        WHEN typeof(e.claims) NOT IN ('text', 'null') THEN 'claims'
        WHEN typeof(e.data) != 'blob' THEN 'data'
        WHEN s.stream_id IS NULL THEN 'stream_id'
        WHEN k.kind_id IS NULL THEN 'kind_id'
        WHEN k.category != substr(s.name, 1, instr(s.name, '-') - 1) THEN 'kind_id'
    END AS wrong,
    '',
    e.global_position,
    coalesce(CAST(s.name AS TEXT), ''),
    coalesce(CAST(s.tenant AS TEXT), '')
FROM events AS e
LEFT JOIN streams AS s ON s.stream_id = e.stream_id
LEFT JOIN kinds AS k ON k.kind_id = e.kind_id
WHERE wrong IS NOT NULL
ORDER BY e.global_position
