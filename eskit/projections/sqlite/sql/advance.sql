UPDATE eskit_projections SET position = ?, event_id = ?, place = ?, updated_at = ?
WHERE name = ? AND position = ? AND event_id = ?
