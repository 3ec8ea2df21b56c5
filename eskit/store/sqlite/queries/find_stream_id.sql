SELECT stream_id FROM streams WHERE name = ?1 AND tenant = ?2
