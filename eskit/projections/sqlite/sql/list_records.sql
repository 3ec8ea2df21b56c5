SELECT kind, projection, key, value FROM eskit_records WHERE kind = ? ORDER BY projection, key
