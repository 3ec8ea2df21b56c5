DELETE FROM eskit_pauses WHERE projection = :projection;
DELETE FROM eskit_skips WHERE projection = :projection;
DELETE FROM eskit_effects WHERE projection = :projection
