DELETE FROM claims WHERE tenant = ?1 AND index_name = ?2 AND value = ?3
