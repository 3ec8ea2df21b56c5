-- name: list_objects
-- What stands in a schema by itself. Indexes, constraints, triggers and the sequences of columns
-- belong to their table.
SELECT
    o.classid, o.objid, i.type,
    coalesce(c.relname, i.name, replace(i.identity, quote_ident(n.nspname) || '.', '')),
    i.identity
FROM pg_namespace n
JOIN pg_depend o ON o.refclassid = 'pg_namespace'::regclass AND o.refobjid = n.oid
CROSS JOIN pg_identify_object(o.classid, o.objid, 0) i
LEFT JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid
WHERE n.nspname = %(schema)s
    AND o.classid = ANY (ARRAY[
        'pg_class', 'pg_proc', 'pg_type', 'pg_collation', 'pg_statistic_ext', 'pg_ts_config',
        'pg_ts_dict', 'pg_operator', 'pg_opclass', 'pg_opfamily', 'pg_cast', 'pg_extension',
        'pg_foreign_server'
    ]::regclass[])
    AND c.relname IS DISTINCT FROM 'eskit_read_model'
    AND (c.relname IS NULL OR c.relname NOT LIKE 'eskit\_%%')
    AND NOT EXISTS (
        SELECT FROM pg_depend p
        WHERE p.classid = o.classid AND p.objid = o.objid AND c.relkind = 'S'
            AND p.refclassid = 'pg_class'::regclass AND p.deptype IN ('a', 'i')
    )
ORDER BY 3, 4

-- name: list_owners
SELECT kind, name, projection FROM {live}.eskit_objects

-- name: disown
DELETE FROM {live}.eskit_objects WHERE projection = %(projection)s

-- name: own
INSERT INTO {live}.eskit_objects (projection, kind, name) VALUES (%s, %s, %s)
ON CONFLICT (kind, name) DO UPDATE SET projection = excluded.projection

-- name: list_dependents
-- What would lose a thing it needs if these objects, and what belongs to them, were dropped.
WITH RECURSIVE own (classid, objid) AS (
    SELECT * FROM unnest(%(classes)s::oid[], %(objects)s::oid[])
    UNION
    SELECT d.classid, d.objid
    FROM own o JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid
    WHERE d.deptype IN ('i', 'a', 'P', 'S')
)
SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid)
FROM own o JOIN pg_depend d ON d.refclassid = o.classid AND d.refobjid = o.objid
WHERE d.deptype = 'n' AND (d.classid, d.objid) NOT IN (SELECT * FROM own)
UNION
SELECT 'publication ' || p.pubname
FROM own o
JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_publication_tables p ON (p.schemaname, p.tablename) = (n.nspname, c.relname)
ORDER BY 1

-- name: list_columns
SELECT
    a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity::text,
    a.attgenerated::text, pg_get_expr(d.adbin, d.adrelid), k.collname,
    t.typnamespace = c.relnamespace
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
LEFT JOIN pg_collation k ON k.oid = a.attcollation AND k.collname <> 'default'
WHERE a.attrelid = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum

-- name: list_key
SELECT a.attname
FROM pg_index i
CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, place)
JOIN pg_attribute a ON (a.attrelid, a.attnum) = (i.indrelid, k.attnum)
WHERE i.indrelid = %(table)s AND i.indisprimary AND k.place <= i.indnkeyatts
ORDER BY k.place

-- name: list_constraints
SELECT conname, pg_get_constraintdef(oid, true) FROM pg_constraint
WHERE conrelid = %(table)s AND contype IN ('c', 'f', 'p', 'u', 'x')
ORDER BY 1

-- name: list_parts
-- Indexes that no constraint makes, and triggers, each with its declaration.
SELECT 'index', c.relname, pg_get_indexdef(i.indexrelid, 0, true)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = %(table)s
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND conrelid = i.indrelid)
UNION ALL
SELECT 'trigger', tgname, pg_get_triggerdef(oid, true) || ' ' || tgenabled::text FROM pg_trigger
WHERE tgrelid = %(table)s AND NOT tgisinternal
ORDER BY 1, 2

-- name: declare_view
SELECT pg_get_viewdef(%(object)s::oid, true)

-- name: declare_function
SELECT replace(pg_get_functiondef(%(object)s::oid), quote_ident(%(schema)s) || '.', '')

-- name: declare_type
SELECT t.typtype::text || ' ' || coalesce(
    (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
        FROM pg_enum WHERE enumtypid = t.oid),
    (SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped),
    format_type(t.typbasetype, t.typtypmod) || coalesce(
        (SELECT string_agg(pg_get_constraintdef(oid, true), ' ' ORDER BY conname)
            FROM pg_constraint WHERE contypid = t.oid), ''),
    ''
)
FROM pg_type t WHERE t.oid = %(object)s

-- name: list_sequences
-- Those that stand by themselves, and those of columns, with the table they belong to.
SELECT c.relname, coalesce(t.relname, '')
FROM pg_class c
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
    AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
LEFT JOIN pg_class t ON t.oid = d.refobjid
WHERE c.relnamespace = %(schema)s::regnamespace AND c.relkind = 'S'
ORDER BY 1
