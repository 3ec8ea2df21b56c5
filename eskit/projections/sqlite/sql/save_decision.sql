INSERT INTO eskit_decisions (projection, action, detail, reason, decided_by, decided_at)
VALUES (?, ?, ?, ?, ?, ?)
