UPDATE eskit_projections SET position = ?, event_id = ?, updated_at = ?
WHERE name = ? AND position = ? AND event_id = ?
