SELECT count(*) FROM live.eskit_decisions
WHERE projection = :projection AND action IN ('retry', 'retry failed', 'set checkpoint')
AND decided_at > (SELECT coalesce(max(applied_at), 0) FROM live.eskit_migrations WHERE projection = :projection)
