SELECT name, store_id, position, event_id, updated_at FROM checkpoints WHERE name = ?1
