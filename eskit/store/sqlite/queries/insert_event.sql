INSERT INTO events (
    global_position, stream_id, version, kind_id, event_id, recorded_at, metadata, claims, data, record_checksum
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
