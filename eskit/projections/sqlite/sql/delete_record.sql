DELETE FROM eskit_records WHERE kind = ? AND projection = ? AND key = ?
