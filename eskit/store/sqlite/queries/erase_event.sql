-- What was damaged before stays so: what is left of it may not be what was recorded either.
-- event_checksum is a function of the connection.
UPDATE events SET
    data = x'',
    claims = NULL,
    metadata = ?2,
    record_checksum = (
        SELECT iif(
            events.record_checksum IS event_checksum(
                CAST(s.tenant AS BLOB),
                CAST(s.name AS BLOB),
                CAST(k.event_type AS BLOB),
                events.global_position,
                events.version,
                events.recorded_at,
                CAST(events.event_id AS BLOB),
                CAST(events.metadata AS BLOB),
                coalesce(CAST(events.claims AS BLOB), x''),
                CAST(events.data AS BLOB)
            ),
            event_checksum(
                CAST(s.tenant AS BLOB),
                CAST(s.name AS BLOB),
                CAST(k.event_type AS BLOB),
                events.global_position,
                events.version,
                events.recorded_at,
                CAST(events.event_id AS BLOB),
                CAST(?2 AS BLOB),
                x'',
                x''
            ),
            -1
        )
        FROM streams AS s, kinds AS k
        WHERE s.stream_id = events.stream_id AND k.kind_id = events.kind_id
    )
WHERE global_position = ?1
