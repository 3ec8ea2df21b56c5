-- name: list_relations
SELECT c.oid, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(live)s AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')

-- name: list_written
-- What this transaction has written to, or declared otherwise: each such thing is locked until the
-- transaction ends, and undone savepoints let go. A name is missing where it was dropped.
SELECT DISTINCT l.relation, n.nspname, c.relname
FROM pg_locks l
LEFT JOIN pg_class c ON c.oid = l.relation
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareUpdateExclusiveLock')
    AND n.nspname IS DISTINCT FROM 'pg_catalog'
    AND n.nspname IS DISTINCT FROM 'pg_toast'
    AND coalesce(c.relkind, 'r') IN ('r', 'p', 'v', 'm', 'S', 'f')
    AND coalesce(n.nspname, '') NOT LIKE 'pg\_temp%'
