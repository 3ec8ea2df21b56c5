SELECT
    CASE
        WHEN typeof(e.version) != 'integer' OR e.version < 0 THEN 'version'
        WHEN typeof(e.events) != 'integer' OR e.events < 0 THEN 'events'
        WHEN typeof(e.erased_at) != 'integer' OR e.erased_at NOT BETWEEN 0 AND 253402300799999999 THEN 'erased_at'
        WHEN typeof(e.erased_by) != 'text' THEN 'erased_by'
        WHEN typeof(e.reason) != 'text' THEN 'reason'
    END AS wrong,
    '',
    0,
    coalesce(CAST(s.name AS TEXT), ''),
    coalesce(CAST(s.tenant AS TEXT), '')
FROM erasures AS e
LEFT JOIN streams AS s ON s.stream_id = e.stream_id
WHERE wrong IS NOT NULL
