SELECT name, version, store_id, position, event_id, place, updated_at,
    (SELECT reason FROM eskit_pauses WHERE projection = name),
    EXISTS (SELECT 1 FROM eskit_letters WHERE projection = name)
        OR EXISTS (SELECT 1 FROM eskit_skips WHERE projection = name)
FROM eskit_projections ORDER BY name
