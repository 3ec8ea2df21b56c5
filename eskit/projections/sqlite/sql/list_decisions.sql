SELECT projection, action, detail, reason, decided_by, decided_at
FROM eskit_decisions WHERE projection = ? ORDER BY id
