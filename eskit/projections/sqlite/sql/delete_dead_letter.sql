DELETE FROM eskit_letters WHERE projection = ? AND position = ?
