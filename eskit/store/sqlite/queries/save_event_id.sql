INSERT OR IGNORE INTO event_ids (event_id, global_position) VALUES (?1, ?2)
