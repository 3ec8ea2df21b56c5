-- Only of an event that is there, and never of a stream that was erased.
INSERT OR REPLACE INTO snapshots (
    stream_id, version, event_id, state_schema, fold_version, created_at, checksum, state
)
SELECT e.stream_id, e.version, e.event_id, ?5, ?6, ?7, ?8, ?9
FROM streams AS s
CROSS JOIN events AS e ON e.stream_id = s.stream_id AND e.version = ?3
WHERE s.name = ?1 AND s.tenant = ?2 AND e.event_id = ?4
    AND NOT EXISTS (SELECT 1 FROM erasures AS x WHERE x.stream_id = s.stream_id)
