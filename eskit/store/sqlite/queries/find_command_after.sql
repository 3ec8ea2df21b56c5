-- The key so many commands after another.
SELECT tenant, command_id FROM commands
WHERE (tenant, command_id) > (?1, ?2)
ORDER BY tenant, command_id
LIMIT 1 OFFSET ?3
