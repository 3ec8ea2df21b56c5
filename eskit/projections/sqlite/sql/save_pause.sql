INSERT OR REPLACE INTO eskit_pauses (projection, reason) VALUES (?, ?)
