UPDATE eskit_projections SET store_id = ?, position = ?, event_id = ?, updated_at = ? WHERE name = ?
