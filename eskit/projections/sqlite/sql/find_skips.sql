SELECT projection, event_id, position, event_type, stream, reason, decided_by, decided_at
FROM eskit_skips WHERE projection = ? ORDER BY position
