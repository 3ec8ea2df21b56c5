-- Every statement of this adapter that is always the same, by name. %s are parameters in order.

-- name: find_head
SELECT global_position FROM events ORDER BY global_position DESC LIMIT 1

-- name: find_streams_by_key
SELECT stream_id, name, tenant FROM streams WHERE stream_id = ANY (%s)

-- name: find_types_by_key
SELECT type_id, event_type FROM event_types WHERE type_id = ANY (%s)

-- name: read_by_ids
SELECT
    e.global_position, s.name, e.version, e.event_id, t.event_type, e.recorded_at, s.tenant,
    e.metadata, e.data, e.claims
FROM events e JOIN streams s USING (stream_id) JOIN event_types t USING (type_id)
WHERE e.event_id = ANY (%s)

-- name: count_events
SELECT count(*) FROM events WHERE global_position > %s AND global_position < %s

-- name: count_events_of_types
SELECT count(*) FROM events
WHERE global_position > %s AND global_position < %s
    AND type_id = ANY (ARRAY(SELECT type_id FROM event_types WHERE event_type = ANY (%s)))

-- name: list_streams
SELECT s.name, s.tenant, s.category, l.version, f.recorded_at, l.recorded_at
FROM streams s
CROSS JOIN LATERAL (
    SELECT recorded_at FROM events WHERE stream_id = s.stream_id ORDER BY version LIMIT 1
) f
CROSS JOIN LATERAL (
    SELECT version, recorded_at FROM events
    WHERE stream_id = s.stream_id ORDER BY version DESC LIMIT 1
) l
WHERE (s.name, s.tenant) > (%(name)s, %(tenant)s)
    AND s.name >= %(prefix)s AND starts_with(s.name, %(prefix)s)
    AND (%(only)s::text IS NULL OR s.tenant = %(only)s)
ORDER BY s.name, s.tenant
LIMIT %(size)s

-- name: save_checkpoint
SELECT save_checkpoint(%s::text, %s::text, %s::bigint, %s::text, %s::bigint)

-- name: delete_checkpoint
SELECT delete_checkpoint(%s::text)

-- name: insert_record
SELECT insert_record(%s::text, %s::text, %s::text, %s::bigint)

-- name: put_record
INSERT INTO records (kind, key, value, updated_at, revision) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (kind, key) DO UPDATE SET
    value = excluded.value, updated_at = excluded.updated_at, revision = excluded.revision

-- name: find_copy_state
SELECT value FROM records WHERE kind = 'copy' AND key = 'state'

-- name: save_store_id
UPDATE store SET value = %s WHERE key = 'store_id'

-- name: update_record
SELECT update_record(%s::text, %s::text, %s::text, %s::bigint, %s::bigint)

-- name: delete_record
SELECT delete_record(%s::text, %s::text, %s::bigint)

-- name: save_snapshot
SELECT save_snapshot(
    %s::text, %s::text, %s::integer, %s::uuid, %s::text, %s::bigint, %s::bigint, %s::text, %s::bytea
)

-- name: delete_snapshot
SELECT delete_snapshot(%s::text, %s::text, %s::integer)

-- name: touch
SELECT touch()

-- name: measure
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)
FROM pg_class c WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r'

-- name: find_end
SELECT e.global_position, e.recorded_at FROM events e ORDER BY e.global_position DESC LIMIT 1

-- name: create_incoming
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    global_position bigint, name text, tenant text, category text, event_type text,
    version integer, recorded_at bigint, event_id uuid, metadata text, claims text, data bytea
) ON COMMIT DROP

-- name: copy_incoming
COPY incoming (
    global_position, name, tenant, category, event_type, version, recorded_at, event_id, metadata,
    claims, data
) FROM STDIN

-- name: add_streams
INSERT INTO streams (name, tenant, category)
SELECT DISTINCT i.name, i.tenant, i.category FROM incoming i
WHERE NOT EXISTS (SELECT FROM streams s WHERE s.name = i.name AND s.tenant = i.tenant)

-- name: add_types
INSERT INTO event_types (category, event_type)
SELECT DISTINCT i.category, i.event_type FROM incoming i
WHERE NOT EXISTS (
    SELECT FROM event_types t WHERE t.category = i.category AND t.event_type = i.event_type
)

-- name: add_events
INSERT INTO events (
    global_position, stream_id, recorded_at, version, type_id, event_id, checksum, metadata,
    claims, data
)
SELECT
    i.global_position, s.stream_id, i.recorded_at, i.version, t.type_id, i.event_id,
    event_checksum(
        i.tenant, i.name, i.event_type, i.global_position, i.version, i.recorded_at, i.event_id,
        i.metadata, i.claims, i.data
    ),
    i.metadata, i.claims, i.data
FROM incoming i
JOIN streams s ON s.name = i.name AND s.tenant = i.tenant
JOIN event_types t ON t.category = i.category AND t.event_type = i.event_type
ORDER BY i.global_position

-- name: clear_incoming
TRUNCATE incoming

-- name: find_known_ids
SELECT event_id FROM events WHERE event_id = ANY (%s)

-- name: find_stream_ends
SELECT s.name, s.tenant, l.version, l.global_position
FROM unnest(%s::text[], %s::text[]) w (name, tenant)
JOIN streams s ON s.name = w.name AND s.tenant = w.tenant
CROSS JOIN LATERAL (
    SELECT version, global_position FROM events e
    WHERE e.stream_id = s.stream_id ORDER BY version DESC LIMIT 1
) l

-- name: find_positions
SELECT s.name, s.tenant, e.version, e.global_position
FROM unnest(%s::text[], %s::text[], %s::integer[]) w (name, tenant, version)
JOIN streams s ON s.name = w.name AND s.tenant = w.tenant
JOIN events e ON e.stream_id = s.stream_id AND e.version = w.version

-- name: find_owner
SELECT s.name FROM claims c JOIN streams s USING (stream_id)
WHERE c.tenant = %s AND c.index_name = %s AND c.digest = sha256(convert_to(%s, 'UTF8'))

-- name: find_owners
SELECT w.tenant, w.index_name, w.value, s.name
FROM unnest(%s::text[], %s::text[], %s::text[]) w (tenant, index_name, value)
JOIN claims c ON c.tenant = w.tenant AND c.index_name = w.index_name
    AND c.digest = sha256(convert_to(w.value, 'UTF8'))
JOIN streams s USING (stream_id)

-- name: save_claims
INSERT INTO claims (tenant, index_name, digest, value, stream_id)
SELECT s.tenant, w.index_name, sha256(convert_to(w.value, 'UTF8')), w.value, s.stream_id
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) w (tenant, index_name, value, stream)
JOIN streams s ON s.name = w.stream AND s.tenant = w.tenant
ON CONFLICT (tenant, index_name, digest) DO UPDATE SET stream_id = excluded.stream_id

-- name: free_claims
DELETE FROM claims c
USING unnest(%s::text[], %s::text[], %s::text[]) w (tenant, index_name, value)
WHERE c.tenant = w.tenant AND c.index_name = w.index_name
    AND c.digest = sha256(convert_to(w.value, 'UTF8'))

-- name: delete_claim
DELETE FROM claims c USING streams s
WHERE c.stream_id = s.stream_id AND c.tenant = %s AND c.index_name = %s
    AND c.digest = sha256(convert_to(%s, 'UTF8')) AND s.name = %s

-- name: add_named_streams
INSERT INTO streams (name, tenant, category)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]) w (name, tenant, category)
WHERE NOT EXISTS (SELECT FROM streams s WHERE s.name = w.name AND s.tenant = w.tenant)

-- name: save_commands
INSERT INTO commands (
    tenant, command_id, fingerprint, stream_id, version, global_position, recorded_at, checksum,
    response
)
SELECT
    s.tenant, w.id, w.fingerprint, s.stream_id, w.version, w.position, w.recorded_at,
    command_checksum(
        s.tenant, w.id, w.fingerprint, s.name, w.version, w.position, w.recorded_at, w.response
    ),
    w.response
FROM unnest(
    %s::text[], %s::text[], %s::text[], %s::text[], %s::integer[], %s::bigint[], %s::bigint[],
    %s::bytea[]
) w (tenant, id, fingerprint, stream, version, position, recorded_at, response)
JOIN streams s ON s.name = w.stream AND s.tenant = w.tenant
ON CONFLICT (tenant, command_id) DO UPDATE SET
    fingerprint = excluded.fingerprint, stream_id = excluded.stream_id,
    version = excluded.version, global_position = excluded.global_position,
    recorded_at = excluded.recorded_at, checksum = excluded.checksum, response = excluded.response

-- name: delete_command
DELETE FROM commands WHERE tenant = %s AND command_id = %s AND fingerprint = %s AND recorded_at = %s

-- name: add_schema
INSERT INTO schemas (schema_id, files) VALUES (%s, %s) ON CONFLICT DO NOTHING

-- name: add_event_schema
INSERT INTO event_schemas (event_type, first_position, schema_id) VALUES (%s, %s, %s)
ON CONFLICT (event_type, first_position) DO UPDATE SET schema_id = excluded.schema_id

-- name: add_erasure
INSERT INTO erasures (stream_id, version, events, erased_at, erased_by, reason)
SELECT s.stream_id, %s, %s, %s, %s, %s FROM streams s
WHERE s.name = %s AND s.tenant = %s AND EXISTS (SELECT FROM events e WHERE e.stream_id = s.stream_id)

-- name: read_to_erase
SELECT e.version, e.metadata, e.global_position FROM events e JOIN streams s USING (stream_id)
WHERE s.name = %s AND s.tenant = %s ORDER BY e.version

-- name: erase_event
UPDATE events e SET
    metadata = %(metadata)s, claims = NULL, data = '',
    checksum = event_checksum(
        s.tenant, s.name, t.event_type, e.global_position, e.version, e.recorded_at, e.event_id,
        %(metadata)s, NULL, ''
    )
FROM streams s, event_types t
WHERE s.stream_id = e.stream_id AND t.type_id = e.type_id
    AND e.global_position = %(position)s

-- name: erase_claims
DELETE FROM claims c USING streams s
WHERE c.stream_id = s.stream_id AND s.name = %s AND s.tenant = %s

-- name: erase_responses
UPDATE commands c SET
    response = '',
    checksum = command_checksum(
        c.tenant, c.command_id, c.fingerprint, s.name, c.version, c.global_position, c.recorded_at,
        ''
    )
FROM streams s WHERE s.stream_id = c.stream_id AND s.name = %s AND s.tenant = %s

-- name: erase_snapshots
DELETE FROM snapshots n USING streams s
WHERE n.stream_id = s.stream_id AND s.name = %s AND s.tenant = %s

-- name: find_gaps
SELECT s.name, s.tenant, g.version, g.global_position, g.previous
FROM (
    SELECT
        stream_id, version, global_position,
        coalesce(lag(version) OVER (PARTITION BY stream_id ORDER BY global_position), 0) AS previous
    FROM events
) g JOIN streams s USING (stream_id)
WHERE g.version <> g.previous + 1
ORDER BY g.global_position

-- name: find_lost_commands
SELECT c.command_id, s.name, s.tenant, c.version, c.global_position
FROM commands c JOIN streams s USING (stream_id)
WHERE c.version > 0 AND NOT EXISTS (
    SELECT FROM events e WHERE e.stream_id = c.stream_id AND e.version = c.version
)
ORDER BY c.tenant, c.command_id

-- name: find_changed_events
SELECT s.name, s.tenant, e.version, e.global_position
FROM events e JOIN streams s USING (stream_id) JOIN event_types t USING (type_id)
WHERE e.checksum <> event_checksum(
    s.tenant, s.name, t.event_type, e.global_position, e.version, e.recorded_at, e.event_id,
    e.metadata, e.claims, e.data
)
ORDER BY e.global_position

-- name: find_changed_commands
SELECT c.command_id, s.name, s.tenant, c.global_position
FROM commands c JOIN streams s USING (stream_id)
WHERE c.checksum <> command_checksum(
    c.tenant, c.command_id, c.fingerprint, s.name, c.version, c.global_position, c.recorded_at,
    c.response
)
ORDER BY c.tenant, c.command_id

-- name: find_strange_values
SELECT 'events', v.column_name, e.global_position
FROM events e
CROSS JOIN LATERAL (VALUES
    ('global_position', e.global_position < 1), ('version', e.version < 1),
    ('recorded_at', e.recorded_at < 0),
    ('stream_id', NOT EXISTS (SELECT FROM streams s WHERE s.stream_id = e.stream_id)),
    ('type_id', NOT EXISTS (SELECT FROM event_types t WHERE t.type_id = e.type_id))
) v (column_name, strange)
WHERE v.strange
ORDER BY e.global_position

-- name: list_parts
SELECT c.relname FROM pg_class c WHERE c.relnamespace = %s::regnamespace
UNION ALL
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = %s::regnamespace
