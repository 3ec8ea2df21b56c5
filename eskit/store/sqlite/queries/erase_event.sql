UPDATE events SET data = x'', claims = NULL, metadata = ?2 WHERE global_position = ?1
