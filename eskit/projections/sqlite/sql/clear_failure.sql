DELETE FROM eskit_failures WHERE projection = ? AND phase = ?
