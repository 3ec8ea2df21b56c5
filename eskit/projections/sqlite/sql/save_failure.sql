INSERT OR REPLACE INTO eskit_failures
    (projection, phase, position, event_id, event_type, stream, error, traceback, failed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
