DELETE FROM eskit_pauses WHERE projection = ?
