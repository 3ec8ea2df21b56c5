INSERT OR REPLACE INTO records (kind, key, value, updated_at, revision) VALUES (?1, ?2, ?3, ?4, ?5)
