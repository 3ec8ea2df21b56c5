INSERT OR REPLACE INTO checkpoints (name, store_id, position, event_id, updated_at)
VALUES (?1, ?2, ?3, ?4, ?5)
