-- The functions that write in daily use. They are replaced when eskit opens the store for the first
-- time after an upgrade, under the lock of the migrations. They run with the rights of the store's
-- owner, so that a role that may execute them needs no right to change a table.

CREATE OR REPLACE FUNCTION event_checksum(
    tenant text, stream text, event_type text, global_position bigint, version integer,
    recorded_at bigint, event_id uuid, metadata text, claims text, data bytea
) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT substring(sha256(
        int8send(global_position) || int4send(version) || int8send(recorded_at)
        || uuid_send(event_id) || convert_to(
            tenant || e'\x01' || stream || e'\x01' || event_type || e'\x01' || metadata
            || e'\x01' || coalesce(claims, ''), 'UTF8'
        ) || data
    ) FOR 8)
$$;

CREATE OR REPLACE FUNCTION command_checksum(
    tenant text, command_id text, fingerprint text, stream text, version integer,
    global_position bigint, recorded_at bigint, response bytea
) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT substring(sha256(
        int8send(global_position) || int4send(version) || int8send(recorded_at) || convert_to(
            tenant || e'\x01' || command_id || e'\x01' || fingerprint || e'\x01' || stream, 'UTF8'
        ) || response
    ) FOR 8)
$$;

-- Now, in microseconds since 1970.
CREATE OR REPLACE FUNCTION microseconds() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- A group of appends in one transaction and one round trip. Every array named r_ has one element
-- for each append, e_ one for each event, c_ one for each claim, s_ one for each schema that may be
-- new, in order; r_events, r_claims and r_schemas say how many of them belong to each append. An
-- expected version of -1 is any, -2 is that of a stream that exists. s_first is the number of the
-- first event of a schema in its append, from 1.
--
-- The time is the server's unless one is given, and never before that of the last event.
--
-- One row for each append says what became of it:
--   appended   version, global_position
--   repeated   the command is known: its version, global_position and response
--   reused     the command id is another command's: of stream `detail`
--   conflict   the stream is at `version`
--   claimed    claim number `version` of the append is held by stream `detail`
--   stored     an event id of the append is stored already; nothing was done
--   closed     a copy has closed the store, as `detail` says
-- A refusal writes nothing, and changes nothing for the other appends.
CREATE OR REPLACE FUNCTION append(
    lock_key bigint, channel text, given_time bigint,
    r_stream text[], r_tenant text[], r_category text[], r_expected integer[],
    r_command text[], r_fingerprint text[], r_response bytea[],
    r_given boolean[], r_events integer[], r_claims integer[],
    e_id uuid[], e_type text[], e_metadata text[], e_claims text[], e_data bytea[],
    c_claim boolean[], c_index text[], c_value text[],
    r_schemas integer[], s_type text[], s_id text[], s_files bytea[], s_first integer[]
) RETURNS TABLE (
    verdict text, version integer, global_position bigint, response bytea, detail text
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    head bigint := 0;
    head_time bigint := 0;
    begun bigint;
    moment bigint;
    event_end integer := 0;
    event_start integer;
    claim_end integer := 0;
    claim_start integer;
    schema_end integer := 0;
    schema_start integer;
    before bigint;
    current_schema_id text;
    the_stream bigint;
    the_version integer;
    the_position bigint;
    the_type integer;
    last_type text;
    holder bigint;
    taken integer;
    taken_by text;
    known record;
    closed text;
BEGIN
    PERFORM pg_advisory_xact_lock(lock_key);
    -- A statement of its own, so that its snapshot is younger than the lock.
    SELECT e.global_position, e.recorded_at INTO head, head_time
    FROM events e ORDER BY e.global_position DESC LIMIT 1;
    head := coalesce(head, 0);
    begun := head;
    moment := greatest(coalesce(head_time, 0), coalesce(given_time, microseconds()));

    SELECT r.value INTO closed FROM records r WHERE r.kind = 'copy' AND r.key = 'state';

    FOR i IN 1 .. coalesce(array_length(r_stream, 1), 0) LOOP
        event_start := event_end + 1;
        event_end := event_end + r_events[i];
        claim_start := claim_end + 1;
        claim_end := claim_end + r_claims[i];
        schema_start := schema_end + 1;
        schema_end := schema_end + r_schemas[i];

        IF r_command[i] IS NOT NULL THEN
            SELECT c.fingerprint, s.name, c.version, c.global_position, c.response INTO known
            FROM commands c JOIN streams s USING (stream_id)
            WHERE c.tenant = r_tenant[i] AND c.command_id = r_command[i];
            IF FOUND THEN
                IF known.fingerprint = r_fingerprint[i] AND known.name = r_stream[i] THEN
                    RETURN QUERY SELECT
                        'repeated', known.version, known.global_position, known.response, NULL::text;
                ELSE
                    RETURN QUERY SELECT
                        'reused', NULL::integer, NULL::bigint, NULL::bytea, known.name::text;
                END IF;
                CONTINUE;
            END IF;
        END IF;

        IF r_given[i] AND EXISTS (
            SELECT FROM events e WHERE e.event_id = ANY (e_id[event_start:event_end])
        ) THEN
            RETURN QUERY SELECT 'stored', NULL::integer, NULL::bigint, NULL::bytea, NULL::text;
            CONTINUE;
        END IF;

        IF closed IS NOT NULL THEN
            RETURN QUERY SELECT 'closed', NULL::integer, NULL::bigint, NULL::bytea, closed;
            CONTINUE;
        END IF;

        the_version := 0;
        the_position := 0;
        SELECT s.stream_id INTO the_stream
        FROM streams s WHERE s.name = r_stream[i] AND s.tenant = r_tenant[i];
        IF the_stream IS NOT NULL THEN
            SELECT e.version, e.global_position INTO the_version, the_position
            FROM events e WHERE e.stream_id = the_stream ORDER BY e.version DESC LIMIT 1;
            the_version := coalesce(the_version, 0);
            the_position := coalesce(the_position, 0);
        END IF;
        IF r_expected[i] <> -1 AND the_version <> r_expected[i]
            AND NOT (r_expected[i] = -2 AND the_version > 0) THEN
            RETURN QUERY SELECT 'conflict', the_version, NULL::bigint, NULL::bytea, NULL::text;
            CONTINUE;
        END IF;
        IF r_command[i] IS NULL AND r_events[i] = 0 THEN
            RETURN QUERY SELECT 'appended', the_version, the_position, NULL::bytea, NULL::text;
            CONTINUE;
        END IF;
        IF r_claims[i] = 0 AND the_stream IS NULL THEN
            INSERT INTO streams (name, tenant, category)
            VALUES (r_stream[i], r_tenant[i], r_category[i]) RETURNING stream_id INTO the_stream;
        ELSIF r_claims[i] > 0 THEN
            taken := NULL;
            -- Undone as a whole when a value is taken: claims run in order, and free one another.
            BEGIN
                IF the_stream IS NULL THEN
                    INSERT INTO streams (name, tenant, category)
                    VALUES (r_stream[i], r_tenant[i], r_category[i])
                    RETURNING stream_id INTO the_stream;
                END IF;
                FOR j IN claim_start .. claim_end LOOP
                    SELECT c.stream_id INTO holder FROM claims c
                    WHERE c.tenant = r_tenant[i] AND c.index_name = c_index[j]
                        AND c.digest = sha256(convert_to(c_value[j], 'UTF8'));
                    IF c_claim[j] AND holder IS NULL THEN
                        INSERT INTO claims (tenant, index_name, digest, value, stream_id)
                        VALUES (
                            r_tenant[i], c_index[j], sha256(convert_to(c_value[j], 'UTF8')),
                            c_value[j], the_stream
                        );
                    ELSIF c_claim[j] AND holder <> the_stream THEN
                        taken := j - claim_start + 1;
                        SELECT s.name INTO taken_by FROM streams s WHERE s.stream_id = holder;
                        RAISE EXCEPTION USING ERRCODE = 'ES001';
                    ELSIF NOT c_claim[j] AND holder = the_stream THEN
                        DELETE FROM claims c
                        WHERE c.tenant = r_tenant[i] AND c.index_name = c_index[j]
                            AND c.digest = sha256(convert_to(c_value[j], 'UTF8'));
                    END IF;
                END LOOP;
            EXCEPTION WHEN SQLSTATE 'ES001' THEN NULL;
            END;
            IF taken IS NOT NULL THEN
                RETURN QUERY SELECT 'claimed', taken, NULL::bigint, NULL::bytea, taken_by;
                CONTINUE;
            END IF;
        END IF;

        before := head;
        IF r_events[i] > 20 THEN
            INSERT INTO event_types (category, event_type)
            SELECT DISTINCT r_category[i], u.type FROM unnest(e_type[event_start:event_end]) u (type)
            ON CONFLICT DO NOTHING;
            INSERT INTO events (
                global_position, stream_id, recorded_at, version, type_id, event_id, checksum,
                metadata, claims, data
            )
            SELECT
                head + u.nr, the_stream, moment, the_version + u.nr, t.type_id, u.event_id,
                event_checksum(
                    r_tenant[i], r_stream[i], u.type, head + u.nr, (the_version + u.nr)::integer,
                    moment, u.event_id, u.metadata, u.claims, u.data
                ),
                u.metadata, u.claims, u.data
            FROM unnest(
                e_id[event_start:event_end], e_type[event_start:event_end],
                e_metadata[event_start:event_end], e_claims[event_start:event_end],
                e_data[event_start:event_end]
            ) WITH ORDINALITY u (event_id, type, metadata, claims, data, nr)
            JOIN event_types t ON t.category = r_category[i] AND t.event_type = u.type;
            head := head + r_events[i];
            the_version := the_version + r_events[i];
            the_position := head;
        ELSIF r_events[i] > 0 THEN
            last_type := NULL;
            FOR j IN event_start .. event_end LOOP
                IF e_type[j] IS DISTINCT FROM last_type THEN
                    last_type := e_type[j];
                    SELECT t.type_id INTO the_type FROM event_types t
                    WHERE t.category = r_category[i] AND t.event_type = last_type;
                    IF the_type IS NULL THEN
                        INSERT INTO event_types (category, event_type)
                        VALUES (r_category[i], last_type) RETURNING type_id INTO the_type;
                    END IF;
                END IF;
                head := head + 1;
                the_version := the_version + 1;
                INSERT INTO events (
                    global_position, stream_id, recorded_at, version, type_id, event_id, checksum,
                    metadata, claims, data
                ) VALUES (
                    head, the_stream, moment, the_version, the_type, e_id[j],
                    event_checksum(
                        r_tenant[i], r_stream[i], last_type, head, the_version, moment, e_id[j],
                        e_metadata[j], e_claims[j], e_data[j]
                    ),
                    e_metadata[j], e_claims[j], e_data[j]
                );
            END LOOP;
            the_position := head;
        END IF;

        FOR j IN schema_start .. schema_end LOOP
            SELECT k.schema_id INTO current_schema_id FROM event_schemas k
            WHERE k.event_type = s_type[j] AND k.first_position <= before + s_first[j]
            ORDER BY k.first_position DESC LIMIT 1;
            IF current_schema_id IS DISTINCT FROM s_id[j] THEN
                INSERT INTO schemas (schema_id, files) VALUES (s_id[j], s_files[j])
                ON CONFLICT DO NOTHING;
                INSERT INTO event_schemas (event_type, first_position, schema_id)
                VALUES (s_type[j], before + s_first[j], s_id[j]);
            END IF;
        END LOOP;

        IF r_command[i] IS NOT NULL THEN
            INSERT INTO commands (
                tenant, command_id, fingerprint, stream_id, version, global_position, recorded_at,
                checksum, response
            ) VALUES (
                r_tenant[i], r_command[i], r_fingerprint[i], the_stream, the_version, the_position,
                moment,
                command_checksum(
                    r_tenant[i], r_command[i], r_fingerprint[i], r_stream[i], the_version,
                    the_position, moment, r_response[i]
                ),
                r_response[i]
            );
        END IF;
        RETURN QUERY SELECT 'appended', the_version, the_position, NULL::bytea, NULL::text;
    END LOOP;

    IF head > begun THEN
        PERFORM pg_notify(channel, head::text);
    END IF;
END
$$;

-- What followers and loaders keep. True where a row was changed, null where it was not.

CREATE OR REPLACE FUNCTION save_checkpoint(
    checkpoint text, store_id text, place bigint, event_id text, moment bigint
) RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO checkpoints (name, store_id, position, event_id, updated_at)
    VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (name) DO UPDATE SET
        store_id = excluded.store_id, position = excluded.position, event_id = excluded.event_id,
        updated_at = excluded.updated_at
    RETURNING true
$$;

-- True also where there is none: it is not there any more.
CREATE OR REPLACE FUNCTION delete_checkpoint(checkpoint text)
RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM checkpoints WHERE name = $1;
    SELECT true
$$;

CREATE OR REPLACE FUNCTION insert_record(kind text, key text, value text, moment bigint)
RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO records (kind, key, value, updated_at, revision) VALUES ($1, $2, $3, $4, 1)
    ON CONFLICT DO NOTHING RETURNING true
$$;

CREATE OR REPLACE FUNCTION update_record(
    kind text, key text, value text, moment bigint, seen bigint
) RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE records r SET value = $3, updated_at = $4, revision = r.revision + 1
    WHERE r.kind = $1 AND r.key = $2 AND r.revision = $5 RETURNING true
$$;

CREATE OR REPLACE FUNCTION delete_record(kind text, key text, seen bigint)
RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM records r WHERE r.kind = $1 AND r.key = $2 AND r.revision = $3 RETURNING true
$$;

-- A snapshot of an event that the stream does not have is not kept, nor is one of an erased stream.
CREATE OR REPLACE FUNCTION save_snapshot(
    stream text, tenant text, version integer, event_id uuid, state_schema text,
    fold_version bigint, moment bigint, checksum text, state bytea
) RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO snapshots (
        stream_id, version, event_id, state_schema, fold_version, created_at, checksum, state
    )
    SELECT s.stream_id, e.version, uuid_send(e.event_id), $5, $6, $7, $8, $9
    FROM streams s JOIN events e USING (stream_id)
    WHERE s.name = $1 AND s.tenant = $2 AND e.version = $3 AND e.event_id = $4
        AND NOT EXISTS (SELECT FROM erasures r WHERE r.stream_id = s.stream_id)
    ON CONFLICT (stream_id, version) DO UPDATE SET
        event_id = excluded.event_id, state_schema = excluded.state_schema,
        fold_version = excluded.fold_version, created_at = excluded.created_at,
        checksum = excluded.checksum, state = excluded.state
    RETURNING true
$$;

CREATE OR REPLACE FUNCTION delete_snapshot(stream text, tenant text, version integer)
RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM snapshots n USING streams s
    WHERE n.stream_id = s.stream_id AND s.name = $1 AND s.tenant = $2 AND n.version = $3;
    SELECT true
$$;

-- Whether something could be written now.
CREATE OR REPLACE FUNCTION touch()
RETURNS boolean LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    UPDATE store SET value = value WHERE key = 'store_id' RETURNING true
$$;

-- PostgreSQL lets everybody execute a new function. These write with the rights of their owner.
DO $$
DECLARE
    made regprocedure;
BEGIN
    FOR made IN
        SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = current_schema() AND p.prosecdef
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made);
    END LOOP;
END
$$;
