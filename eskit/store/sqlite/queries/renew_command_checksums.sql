-- Between two keys.
UPDATE commands SET record_checksum = (
    SELECT coalesce(
        command_checksum(
            CAST(commands.tenant AS BLOB),
            CAST(commands.command_id AS BLOB),
            CAST(commands.fingerprint AS BLOB),
            CAST(s.name AS BLOB),
            commands.version,
            commands.global_position,
            commands.recorded_at,
            CAST(commands.response AS BLOB)
        ),
        -1
    )
    FROM (SELECT 1)
    LEFT JOIN streams AS s ON s.stream_id = commands.stream_id
)
WHERE (tenant, command_id) > (?1, ?2) AND (tenant, command_id) <= (?3, ?4)
