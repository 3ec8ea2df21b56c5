INSERT OR IGNORE INTO eskit_effects (projection, event_id, name, position, function, arguments)
VALUES (?, ?, ?, ?, ?, ?)
