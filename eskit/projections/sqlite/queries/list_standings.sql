SELECT name, version, store_id, position, event_id, updated_at FROM eskit_projections ORDER BY name
