-- Events that are not what was recorded. event_checksum is a function of the connection.
SELECT s.name, s.tenant, e.version, e.global_position
FROM events AS e
CROSS JOIN streams AS s ON s.stream_id = e.stream_id
LEFT JOIN kinds AS k ON k.kind_id = e.kind_id
WHERE e.record_checksum IS NOT event_checksum(
    CAST(s.tenant AS BLOB),
    CAST(s.name AS BLOB),
    CAST(k.event_type AS BLOB),
    e.global_position,
    e.version,
    e.recorded_at,
    CAST(e.event_id AS BLOB),
    CAST(e.metadata AS BLOB),
    coalesce(CAST(e.claims AS BLOB), x''),
    CAST(e.data AS BLOB)
)
    OR e.record_checksum IS NULL
ORDER BY e.global_position
