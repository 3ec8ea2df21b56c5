DELETE FROM main.eskit_objects WHERE projection = :projection;
DELETE FROM main.eskit_failures WHERE projection = :projection;
DELETE FROM main.eskit_letters WHERE projection = :projection;
DELETE FROM main.eskit_migrations WHERE projection = :projection;
DELETE FROM main.eskit_projections WHERE name = :projection
