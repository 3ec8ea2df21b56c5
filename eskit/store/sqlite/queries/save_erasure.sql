INSERT INTO erasures (stream_id, version, events, erased_at, erased_by, reason)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
