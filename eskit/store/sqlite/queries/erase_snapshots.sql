DELETE FROM snapshots WHERE stream_id = ?1
