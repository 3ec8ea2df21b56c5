DELETE FROM main.eskit_objects WHERE projection = :projection;
DELETE FROM main.eskit_failures WHERE projection = :projection;
DELETE FROM main.eskit_letters WHERE projection = :projection;
DELETE FROM main.eskit_migrations WHERE projection = :projection;
INSERT INTO main.eskit_migrations SELECT * FROM aside.eskit_migrations WHERE projection = :projection;
INSERT OR REPLACE INTO main.eskit_projections SELECT * FROM aside.eskit_projections WHERE name = :projection
