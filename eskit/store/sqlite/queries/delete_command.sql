DELETE FROM commands WHERE tenant = ?1 AND command_id = ?2 AND recorded_at = ?3
