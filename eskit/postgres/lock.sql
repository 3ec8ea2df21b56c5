-- Session locks, and the notes of those who hold them. %s are parameters in order.

-- name: limit_silence
SELECT
    set_config('idle_session_timeout', %(limit)s, false),
    set_config('idle_in_transaction_session_timeout', %(limit)s, false)

-- name: take
SELECT pg_try_advisory_lock(%s)

-- name: let_go
SELECT pg_advisory_unlock(%s)

-- name: write_note
SELECT eskit_write_note(%s::text, %s::integer, %s::text)

-- name: forget_others
SELECT eskit_forget_notes(%s::text, %s::integer)

-- name: find_note
SELECT coalesce(h.note, '')
FROM pg_locks l LEFT JOIN eskit_holders h ON h.lock = %(lock)s AND h.backend = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.classid = (%(key)s::bigint >> 32 & 4294967295)::oid
    AND l.objid = (%(key)s::bigint & 4294967295)::oid
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
