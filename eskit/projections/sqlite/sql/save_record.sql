INSERT OR REPLACE INTO eskit_records (kind, projection, key, value) VALUES (?, ?, ?, ?)
