-- The wanted streams are JSON: a list of pairs of name and tenant.
SELECT e.global_position, s.name, e.version, e.event_id, k.event_type, e.recorded_at, s.tenant, e.metadata, e.data, e.claims
FROM events AS e
CROSS JOIN streams AS s ON s.stream_id = e.stream_id
CROSS JOIN kinds AS k ON k.kind_id = e.kind_id
WHERE e.global_position IN (
        SELECT w.global_position
        FROM json_each(?2) AS wanted
        CROSS JOIN streams AS t
            ON t.name = json_extract(wanted.value, '$[0]')
            AND t.tenant = json_extract(wanted.value, '$[1]')
        CROSS JOIN events AS w ON w.stream_id = t.stream_id
    )
    AND e.global_position > ?1
ORDER BY e.global_position
