SELECT name, version, store_id, position, event_id, place, updated_at, NULL, 0 FROM live.eskit_projections WHERE name = ?
