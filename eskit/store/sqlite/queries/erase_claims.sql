DELETE FROM claims WHERE stream_id = ?1
