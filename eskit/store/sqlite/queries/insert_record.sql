INSERT INTO records (kind, key, value, revision, updated_at)
VALUES (?1, ?2, ?3, 1, ?4)
ON CONFLICT DO NOTHING
