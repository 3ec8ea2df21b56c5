INSERT OR IGNORE INTO schemas (schema_id, files) VALUES (?1, ?2)
