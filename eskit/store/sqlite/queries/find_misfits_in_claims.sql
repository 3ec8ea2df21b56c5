SELECT
    CASE
        WHEN typeof(c.tenant) != 'text' THEN 'tenant'
        WHEN typeof(c.index_name) != 'text' THEN 'index_name'
        WHEN typeof(c.value) != 'text' THEN 'value'
    END AS wrong,
    CAST(c.index_name AS TEXT) || ' ' || CAST(c.value AS TEXT),
    0,
    coalesce(CAST(s.name AS TEXT), ''),
    coalesce(CAST(s.tenant AS TEXT), '')
FROM claims AS c
LEFT JOIN streams AS s ON s.stream_id = c.stream_id
WHERE wrong IS NOT NULL
