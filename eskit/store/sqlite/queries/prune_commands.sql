-- Between two keys, so that no writer waits for all of them; ?6 is the ranges of ids to keep.
DELETE FROM commands
WHERE (tenant, command_id) > (?1, ?2) AND (tenant, command_id) <= (?3, ?4) AND recorded_at < ?5
    AND (
        command_id NOT GLOB 'reaction:*' OR NOT EXISTS (
            SELECT 1 FROM json_each(?6) AS r
            WHERE command_id >= json_extract(r.value, '$[0]')
                AND command_id < json_extract(r.value, '$[1]')
        )
    )
