-- Read from the index alone, in its order.
SELECT s.name, s.tenant, v.version, v.global_position, v.previous
FROM (
    SELECT
        stream_id,
        version,
        global_position,
        lag(version, 1, 0) OVER each_stream AS previous,
        lag(global_position, 1, 0) OVER each_stream AS previous_position
    FROM events
    WINDOW each_stream AS (PARTITION BY stream_id ORDER BY version)
) AS v
CROSS JOIN streams AS s ON s.stream_id = v.stream_id
WHERE v.version != v.previous + 1 OR v.global_position <= v.previous_position
