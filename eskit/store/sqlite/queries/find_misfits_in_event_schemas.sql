SELECT
    CASE
        WHEN typeof(x.event_type) != 'text' THEN 'event_type'
        WHEN typeof(x.first_position) != 'integer' OR x.first_position < 0 THEN 'first_position'
        WHEN typeof(x.schema_id) != 'text' THEN 'schema_id'
    END AS wrong,
    CAST(x.event_type AS TEXT),
    0,
    '',
    ''
FROM event_schemas AS x
WHERE wrong IS NOT NULL
