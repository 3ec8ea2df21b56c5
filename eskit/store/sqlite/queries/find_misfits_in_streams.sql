SELECT
    CASE
        WHEN typeof(s.name) != 'text' THEN 'name'
        WHEN typeof(s.tenant) != 'text' THEN 'tenant'
        WHEN s.category != substr(s.name, 1, instr(s.name, '-') - 1) THEN 'category'
    END AS wrong,
    '',
    0,
    coalesce(CAST(s.name AS TEXT), ''),
    coalesce(CAST(s.tenant AS TEXT), '')
FROM streams AS s
WHERE wrong IS NOT NULL
