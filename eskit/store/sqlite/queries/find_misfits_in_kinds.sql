SELECT
    CASE
        WHEN typeof(k.category) != 'text' THEN 'category'
        WHEN typeof(k.event_type) != 'text' THEN 'event_type'
    END AS wrong,
    CAST(k.event_type AS TEXT),
    0,
    '',
    ''
FROM kinds AS k
WHERE wrong IS NOT NULL
