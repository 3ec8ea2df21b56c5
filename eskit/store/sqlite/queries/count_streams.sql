SELECT count(*) FROM streams AS s
WHERE EXISTS (SELECT 1 FROM events AS e WHERE e.stream_id = s.stream_id)
