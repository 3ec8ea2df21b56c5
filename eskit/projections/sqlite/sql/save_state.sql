INSERT OR REPLACE INTO main.eskit_projections
    (name, version, store_id, position, event_id, place, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
