UPDATE store SET value = ?1 WHERE key = 'store_id'
