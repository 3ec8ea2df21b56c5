-- Between two positions: of the whole record where the one of before fits, or where there was none.
UPDATE events SET record_checksum = (
    SELECT iif(
        events.record_checksum IS NULL OR events.record_checksum = old_event_checksum(
            coalesce(CAST(events.metadata AS BLOB), x''), coalesce(CAST(events.data AS BLOB), x'')
        ),
        coalesce(
            event_checksum(
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
            -1
        ),
        -1
    )
    FROM (SELECT 1)
    LEFT JOIN streams AS s ON s.stream_id = events.stream_id
    LEFT JOIN kinds AS k ON k.kind_id = events.kind_id
)
WHERE global_position > ?1 AND global_position <= ?2
