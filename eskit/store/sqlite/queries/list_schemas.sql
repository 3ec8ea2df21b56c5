SELECT e.event_type, e.schema_id, s.files, e.first_position
FROM event_schemas AS e
JOIN schemas AS s USING (schema_id)
ORDER BY e.first_position, e.event_type
