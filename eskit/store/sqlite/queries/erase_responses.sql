-- The commands stay known, so that a resend is not run again; what they answered goes.
-- command_checksum is a function of the connection.
UPDATE commands SET
    response = x'',
    record_checksum = iif(
        record_checksum IS command_checksum(
            CAST(tenant AS BLOB),
            CAST(command_id AS BLOB),
            CAST(fingerprint AS BLOB),
            CAST(?2 AS BLOB),
            version,
            global_position,
            recorded_at,
            CAST(response AS BLOB)
        ),
        command_checksum(
            CAST(tenant AS BLOB),
            CAST(command_id AS BLOB),
            CAST(fingerprint AS BLOB),
            CAST(?2 AS BLOB),
            version,
            global_position,
            recorded_at,
            x''
        ),
        -1
    )
WHERE stream_id = ?1
