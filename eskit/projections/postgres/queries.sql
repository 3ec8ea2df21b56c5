-- {schema} is the quoted name of the schema of the rows. %s are parameters in order.

-- name: list_records
SELECT kind, projection, key, value FROM {schema}.eskit_records
WHERE kind = %s ORDER BY projection, key

-- name: find_records
SELECT kind, projection, key, value FROM {schema}.eskit_records
WHERE kind = %s AND projection = %s ORDER BY key

-- name: find_record
SELECT kind, projection, key, value FROM {schema}.eskit_records
WHERE kind = %s AND projection = %s AND key = %s

-- name: save_record
INSERT INTO {schema}.eskit_records (kind, projection, key, value) VALUES (%s, %s, %s, %s)
ON CONFLICT (kind, projection, key) DO UPDATE SET value = excluded.value

-- name: delete_record
DELETE FROM {schema}.eskit_records WHERE kind = %s AND projection = %s AND key = %s

-- name: forget_records
DELETE FROM {schema}.eskit_records AS other USING {schema}.eskit_records AS mine
WHERE other.projection = %s AND mine.projection = %s
    AND (other.kind, other.key) = (mine.kind, mine.key)

-- name: rename_records
UPDATE {schema}.eskit_records SET projection = %s WHERE projection = %s

-- name: rename_objects
UPDATE {schema}.eskit_objects SET projection = %s WHERE projection = %s

-- name: save_object
INSERT INTO {schema}.eskit_objects (kind, name, projection) VALUES (%s, %s, %s)
ON CONFLICT (kind, name) DO UPDATE SET projection = excluded.projection

-- name: delete_object
DELETE FROM {schema}.eskit_objects WHERE kind = %s AND name = %s

-- name: list_owners
SELECT kind, name, projection FROM {schema}.eskit_objects

-- name: find_version
SELECT value FROM {schema}.eskit_read_model WHERE key = 'schema_version'

-- name: save_version
INSERT INTO {schema}.eskit_read_model (key, value) VALUES ('schema_version', %s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: lock_gate
LOCK TABLE {schema}.eskit_gate IN ACCESS SHARE MODE

-- name: list_sequences
-- Those of columns of a projection's tables, and those that it has beside them.
SELECT c.oid::bigint
FROM {schema}.eskit_objects o
JOIN pg_class own ON own.oid = o.tableoid
JOIN pg_class t ON t.relnamespace = own.relnamespace AND t.relname = o.name
JOIN pg_class c ON c.relkind = 'S' AND (
    c.oid = t.oid OR EXISTS (
        SELECT FROM pg_depend d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
            AND d.deptype IN ('a', 'i')
    )
)
WHERE o.projection = %s AND o.kind IN ('table', 'sequence')

-- name: put_back_sequences
SELECT CASE m.value
    WHEN '' THEN setval(c.oid::regclass, s.seqstart, false)
    ELSE setval(c.oid::regclass, m.value::bigint) END
FROM pg_class c
JOIN pg_sequence s ON s.seqrelid = c.oid
JOIN {schema}.eskit_read_model m ON m.key = 'sequence ' || c.relname
WHERE c.oid = ANY (%s::oid[]) AND coalesce(pg_sequence_last_value(c.oid)::text, '') <> m.value

-- name: note_sequences
INSERT INTO {schema}.eskit_read_model AS m (key, value)
SELECT 'sequence ' || c.relname, coalesce(pg_sequence_last_value(c.oid)::text, '')
FROM pg_class c
WHERE c.oid = ANY (%s::oid[])
ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE m.value <> excluded.value
