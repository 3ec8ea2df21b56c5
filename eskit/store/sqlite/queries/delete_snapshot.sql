-- A damaged row may have a version that is none; ?4 says that the row is whole.
DELETE FROM snapshots
WHERE stream_id = (SELECT s.stream_id FROM streams AS s WHERE s.name = ?1 AND s.tenant = ?2)
    AND (version = ?3 OR (NOT ?4 AND (typeof(version) != 'integer' OR version < 1)))
