SELECT name, version, store_id, position, event_id, updated_at, NULL FROM live.eskit_projections WHERE name = ?
