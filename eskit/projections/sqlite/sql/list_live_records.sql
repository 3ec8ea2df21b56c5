SELECT kind, projection, key, value FROM live.eskit_records WHERE kind = ? ORDER BY projection, key
