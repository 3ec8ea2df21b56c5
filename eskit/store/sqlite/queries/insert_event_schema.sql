INSERT OR IGNORE INTO event_schemas (event_type, first_position, schema_id)
SELECT ?1, ?2, ?3
WHERE ?3 IS NOT (
    SELECT schema_id FROM event_schemas
    WHERE event_type = ?1 AND first_position <= ?2
    ORDER BY first_position DESC LIMIT 1
)
