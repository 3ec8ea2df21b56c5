INSERT OR IGNORE INTO streams (name, tenant, category) VALUES (?1, ?2, ?3)
