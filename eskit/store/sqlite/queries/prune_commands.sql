-- Between two keys, so that no writer waits for all of them.
DELETE FROM commands
WHERE (tenant, command_id) > (?1, ?2) AND (tenant, command_id) <= (?3, ?4) AND recorded_at < ?5
