UPDATE events SET data = x'', claims = NULL, metadata = ?2, checksum = ?3 WHERE global_position = ?1
