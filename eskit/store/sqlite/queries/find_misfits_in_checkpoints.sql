SELECT
    CASE
        WHEN typeof(c.name) != 'text' THEN 'name'
        WHEN typeof(c.store_id) != 'text' THEN 'store_id'
        WHEN typeof(c.position) != 'integer' OR c.position < 0 THEN 'position'
        WHEN typeof(c.event_id) != 'text' THEN 'event_id'
        WHEN typeof(c.updated_at) != 'integer' OR c.updated_at NOT BETWEEN 0 AND 253402300799999999 THEN 'updated_at'
    END AS wrong,
    CAST(c.name AS TEXT),
    0,
    '',
    ''
FROM checkpoints AS c
WHERE wrong IS NOT NULL
