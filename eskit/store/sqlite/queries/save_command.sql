INSERT OR REPLACE INTO commands (
    tenant, command_id, fingerprint, stream_id, version, global_position, recorded_at, response, record_checksum
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
