SELECT projection, position, event_id, event_type, stream, tenant, state, holds_stream, attempts, error, traceback, since
FROM eskit_letters WHERE projection = ? ORDER BY position
