INSERT INTO eskit_migrations (projection, number, name, checksum, applied_at)
VALUES (?, ?, ?, ?, ?)
