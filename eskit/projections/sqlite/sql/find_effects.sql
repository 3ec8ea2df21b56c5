SELECT projection, event_id, name, position, function, arguments, attempts, error
FROM eskit_effects WHERE projection = ? AND called_at IS NULL ORDER BY position, name
