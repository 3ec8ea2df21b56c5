INSERT OR REPLACE INTO eskit_letters
    (projection, position, event_id, event_type, stream, tenant, state, holds_stream, attempts, error, traceback, since)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
