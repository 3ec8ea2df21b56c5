SELECT kind, projection, key, value FROM eskit_records WHERE kind = ? AND projection = ? ORDER BY key
