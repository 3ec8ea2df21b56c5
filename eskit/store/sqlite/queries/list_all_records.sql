SELECT kind, key, value, revision, updated_at FROM records ORDER BY kind, key
