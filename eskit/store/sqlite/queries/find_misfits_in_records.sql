SELECT
    CASE
        WHEN typeof(r.kind) != 'text' THEN 'kind'
        WHEN typeof(r.key) != 'text' THEN 'key'
        WHEN typeof(r.revision) != 'integer' OR r.revision < 1 THEN 'revision'
        WHEN typeof(r.updated_at) != 'integer' OR r.updated_at NOT BETWEEN 0 AND 253402300799999999 THEN 'updated_at'
        WHEN typeof(r.value) != 'text' OR NOT json_valid(r.value) THEN 'value'
    END AS wrong,
    CAST(r.kind AS TEXT) || ' ' || CAST(r.key AS TEXT),
    0,
    '',
    ''
FROM records AS r
WHERE wrong IS NOT NULL
