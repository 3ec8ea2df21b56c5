SELECT projection, phase, position, event_id, event_type, stream, error, traceback, failed_at
FROM eskit_failures WHERE projection = ? ORDER BY phase DESC
