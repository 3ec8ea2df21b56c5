SELECT s.name, s.tenant, e.version, e.events, e.erased_at, e.erased_by, e.reason
FROM erasures AS e
CROSS JOIN streams AS s ON s.stream_id = e.stream_id
ORDER BY e.erasure_id
