SELECT
    CASE
        WHEN typeof(x.schema_id) != 'text' THEN 'schema_id'
        WHEN typeof(x.files) != 'blob' THEN 'files'
    END AS wrong,
    CAST(x.schema_id AS TEXT),
    0,
    '',
    ''
FROM schemas AS x
WHERE wrong IS NOT NULL
