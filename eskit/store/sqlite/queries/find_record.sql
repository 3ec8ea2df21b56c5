SELECT kind, key, value, revision, updated_at FROM records WHERE kind = ?1 AND key = ?2
