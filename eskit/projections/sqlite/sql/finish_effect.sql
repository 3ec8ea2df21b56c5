UPDATE eskit_effects SET called_at = ?, attempts = attempts + 1, error = ''
WHERE projection = ? AND event_id = ? AND name = ?
