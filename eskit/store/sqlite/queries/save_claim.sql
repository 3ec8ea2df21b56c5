INSERT OR REPLACE INTO claims (tenant, index_name, value, stream_id) VALUES (?1, ?2, ?3, ?4)
