SELECT kind, key, value, revision, updated_at FROM records WHERE kind = ?1 ORDER BY key
