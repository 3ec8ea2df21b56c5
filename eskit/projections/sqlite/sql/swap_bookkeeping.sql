DELETE FROM main.eskit_objects WHERE projection = :projection;
DELETE FROM main.eskit_failures WHERE projection = :projection;
DELETE FROM main.eskit_letters WHERE projection = :projection;
DELETE FROM main.eskit_migrations WHERE projection = :projection;
INSERT INTO main.eskit_migrations (projection, number, name, checksum, applied_at)
SELECT projection, number, name, checksum, applied_at FROM shadow.eskit_migrations WHERE projection = :projection;
INSERT OR REPLACE INTO main.eskit_projections (name, version, store_id, position, event_id, place, updated_at)
SELECT name, version, store_id, position, event_id, place, updated_at FROM shadow.eskit_projections WHERE name = :projection
