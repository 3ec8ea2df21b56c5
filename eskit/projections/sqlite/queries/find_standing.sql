SELECT name, version, store_id, position, event_id, updated_at, eskit_pauses.reason
FROM eskit_projections LEFT JOIN eskit_pauses ON eskit_pauses.projection = name
WHERE name = ?
