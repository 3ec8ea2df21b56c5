DELETE FROM snapshots
WHERE stream_id = (SELECT s.stream_id FROM streams AS s WHERE s.name = ?1 AND s.tenant = ?2)
    AND version NOT IN (
        SELECT p.version
        FROM snapshots AS p
        WHERE p.stream_id = (SELECT s.stream_id FROM streams AS s WHERE s.name = ?1 AND s.tenant = ?2)
        ORDER BY p.version DESC
        LIMIT ?3
    )
