UPDATE eskit_projections SET store_id = ?, position = ?, event_id = ?, place = ?, updated_at = ? WHERE name = ?
