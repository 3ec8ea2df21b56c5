-- What prune_snapshots would delete.
SELECT count(*)
FROM (
    SELECT row_number() OVER (PARTITION BY p.stream_id ORDER BY p.version DESC) AS place
    FROM streams AS s
    CROSS JOIN snapshots AS p ON p.stream_id = s.stream_id
    WHERE s.name >= ?2 AND s.name < ?2 || char(0x10FFFF) AND (?3 IS NULL OR s.tenant = ?3)
) AS ranked
WHERE ranked.place > ?1
