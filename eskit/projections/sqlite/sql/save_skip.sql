INSERT OR REPLACE INTO eskit_skips
    (projection, event_id, position, event_type, stream, reason, decided_by, decided_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
