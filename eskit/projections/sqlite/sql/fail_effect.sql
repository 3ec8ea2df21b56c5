UPDATE eskit_effects SET attempts = ?, error = ? WHERE projection = ? AND event_id = ? AND name = ?
