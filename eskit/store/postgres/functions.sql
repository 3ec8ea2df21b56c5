-- The functions that write in daily use. They are replaced when eskit opens the store for the first
-- time after an upgrade, under the lock of the migrations. They run with the rights of the store's
-- owner, so that a role that may execute them needs no right to change a table.

-- The first half of a checksum, which eskit makes in checksums.py for what it appends.
CREATE OR REPLACE FUNCTION content_checksum(content bytea) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ('x' || encode(substring(sha256(content) FOR 8), 'hex'))::bit(64)::bigint
$$;

-- The other half: where and when. Shifts, for a product of large numbers is an error.
CREATE OR REPLACE FUNCTION placed_checksum(
    content bigint, global_position bigint, version integer, recorded_at bigint
) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT content # global_position # (version::bigint << 32) # (recorded_at << 12)
$$;

CREATE OR REPLACE FUNCTION event_checksum(
    tenant text, stream text, event_type text, global_position bigint, version integer,
    recorded_at bigint, event_id uuid, metadata text, claims text, data bytea
) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT placed_checksum(
        content_checksum(
            uuid_send(event_id) || convert_to(
                tenant || e'\x01' || stream || e'\x01' || event_type || e'\x01' || metadata
                || e'\x01' || coalesce(claims, '') || e'\x01', 'UTF8'
            ) || data
        ),
        global_position, version, recorded_at
    )
$$;

CREATE OR REPLACE FUNCTION command_checksum(
    tenant text, command_id text, fingerprint text, stream text, version integer,
    global_position bigint, recorded_at bigint, response bytea
) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT placed_checksum(
        content_checksum(
            convert_to(
                tenant || e'\x01' || command_id || e'\x01' || fingerprint || e'\x01' || stream
                || e'\x01', 'UTF8'
            ) || response
        ),
        global_position, version, recorded_at
    )
$$;

-- Now, in microseconds since 1970.
CREATE OR REPLACE FUNCTION microseconds() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
$$;

-- A group of appends in one transaction and one round trip. Few arrays are faster than many, so each
-- holds several things of an append (r_), a type of its events (k_), an event (e_), a claim (c_) or a
-- schema that may be new (s_), in this order:
--   r_text    stream, tenant, category, command id and fingerprint
--   r_number  the expected version (-1 is any, -2 that of a stream that exists), whether to look for
--             its event ids (1), how many events, how many claims, how many schemas are its own
--   k_text    category, event type: each once in a group; e_kind is the number of the event's
--   e_text    metadata, claims
--   c_text    claim or release, index, value
--   s_text    event type, id of the schema
-- Checksums are first halves. s_first is the number of the first event of a schema in its append.
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
    r_text text[], r_number integer[], r_response bytea[], r_checksum bigint[], k_text text[],
    e_kind integer[], e_id uuid[], e_text text[], e_data bytea[], e_checksum bigint[],
    c_text text[], s_text text[], s_files bytea[], s_first integer[]
) RETURNS TABLE (
    verdict text, version integer, global_position bigint, response bytea, detail text
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER
-- A plan for given values has the arrays in it, where looking up an item goes through all before it.
SET search_path FROM CURRENT SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    head bigint := 0;
    head_time bigint := 0;
    begun bigint;
    moment bigint;
    the_name text;
    the_tenant text;
    the_category text;
    the_command text;
    expected integer;
    event_count integer;
    event_start integer;
    event_end integer := 0;
    claim_start integer;
    claim_end integer := 0;
    schema_start integer;
    schema_end integer := 0;
    the_stream bigint;
    the_version integer;
    the_position bigint;
    before bigint;
    kinds integer[];
    the_kind integer;
    holder bigint;
    taken integer;
    current_schema_id text;
    known record;
    closed text;
BEGIN
    PERFORM pg_advisory_xact_lock(lock_key);
    -- A statement of its own, so that its snapshot is younger than the lock.
    SELECT
        (SELECT r.value FROM records r WHERE r.kind = 'copy' AND r.key = 'state'),
        coalesce(e.global_position, 0), coalesce(e.recorded_at, 0)
    INTO closed, head, head_time
    FROM (VALUES (1)) one
    LEFT JOIN LATERAL (
        SELECT global_position, recorded_at FROM events ORDER BY global_position DESC LIMIT 1
    ) e ON true;
    begun := head;
    moment := greatest(head_time, coalesce(given_time, microseconds()));

    FOR i IN 1 .. coalesce(array_length(r_response, 1), 0) LOOP
        the_name := r_text[5 * i - 4];
        the_tenant := r_text[5 * i - 3];
        the_category := r_text[5 * i - 2];
        the_command := r_text[5 * i - 1];
        expected := r_number[5 * i - 4];
        event_count := r_number[5 * i - 2];
        event_start := event_end;
        event_end := event_end + event_count;
        claim_start := claim_end + 1;
        claim_end := claim_end + r_number[5 * i - 1];
        schema_start := schema_end + 1;
        schema_end := schema_end + r_number[5 * i];
        response := NULL;
        detail := NULL;

        IF the_command IS NOT NULL THEN
            SELECT c.fingerprint, s.name, c.version, c.global_position, c.response INTO known
            FROM commands c JOIN streams s USING (stream_id)
            WHERE c.tenant = the_tenant AND c.command_id = the_command;
            IF FOUND THEN
                IF known.fingerprint = r_text[5 * i] AND known.name = the_name THEN
                    verdict := 'repeated';
                    version := known.version;
                    global_position := known.global_position;
                    response := known.response;
                ELSE
                    verdict := 'reused';
                    detail := known.name;
                END IF;
                RETURN NEXT;
                CONTINUE;
            END IF;
        END IF;

        IF r_number[5 * i - 3] = 1 AND EXISTS (
            SELECT FROM events e WHERE e.event_id = ANY (e_id[event_start + 1:event_end])
        ) THEN
            verdict := 'stored';
            RETURN NEXT;
            CONTINUE;
        END IF;

        IF closed IS NOT NULL THEN
            verdict := 'closed';
            detail := closed;
            RETURN NEXT;
            CONTINUE;
        END IF;

        SELECT s.stream_id, l.version, l.global_position
        INTO the_stream, the_version, the_position
        FROM streams s
        LEFT JOIN LATERAL (
            SELECT e.version, e.global_position FROM events e
            WHERE e.stream_id = s.stream_id ORDER BY e.version DESC LIMIT 1
        ) l ON true
        WHERE s.name = the_name AND s.tenant = the_tenant;
        the_version := coalesce(the_version, 0);
        the_position := coalesce(the_position, 0);
        IF expected <> -1 AND the_version <> expected
            AND NOT (expected = -2 AND the_version > 0) THEN
            verdict := 'conflict';
            version := the_version;
            RETURN NEXT;
            CONTINUE;
        END IF;
        verdict := 'appended';
        IF the_command IS NULL AND event_count = 0 THEN
            version := the_version;
            global_position := the_position;
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF claim_end < claim_start AND the_stream IS NULL THEN
            INSERT INTO streams (name, tenant, category)
            VALUES (the_name, the_tenant, the_category) RETURNING stream_id INTO the_stream;
        ELSIF claim_end >= claim_start THEN
            -- Undone as a whole when a value is taken: claims run in order, and free one another.
            BEGIN
                IF the_stream IS NULL THEN
                    INSERT INTO streams (name, tenant, category)
                    VALUES (the_name, the_tenant, the_category) RETURNING stream_id INTO the_stream;
                END IF;
                FOR j IN claim_start .. claim_end LOOP
                    taken := j - claim_start + 1;
                    SELECT c.stream_id INTO holder FROM claims c
                    WHERE c.tenant = the_tenant AND c.index_name = c_text[3 * j - 1]
                        AND c.digest = sha256(convert_to(c_text[3 * j], 'UTF8'));
                    IF c_text[3 * j - 2] = 'claim' THEN
                        IF holder IS NULL THEN
                            INSERT INTO claims (tenant, index_name, digest, value, stream_id)
                            VALUES (
                                the_tenant, c_text[3 * j - 1],
                                sha256(convert_to(c_text[3 * j], 'UTF8')), c_text[3 * j], the_stream
                            );
                        ELSIF holder <> the_stream THEN
                            SELECT s.name INTO detail FROM streams s WHERE s.stream_id = holder;
                            RAISE EXCEPTION USING ERRCODE = 'ES001';
                        END IF;
                    ELSIF holder = the_stream THEN
                        DELETE FROM claims c
                        WHERE c.tenant = the_tenant AND c.index_name = c_text[3 * j - 1]
                            AND c.digest = sha256(convert_to(c_text[3 * j], 'UTF8'));
                    END IF;
                END LOOP;
            EXCEPTION WHEN SQLSTATE 'ES001' THEN
                verdict := 'claimed';
                version := taken;
                RETURN NEXT;
                CONTINUE;
            END;
        END IF;

        before := head;
        IF event_count > 0 THEN
            IF kinds IS NULL THEN
                FOR j IN 1 .. array_length(k_text, 1) / 2 LOOP
                    SELECT t.type_id INTO the_kind FROM event_types t
                    WHERE t.category = k_text[2 * j - 1] AND t.event_type = k_text[2 * j];
                    IF the_kind IS NULL THEN
                        INSERT INTO event_types (category, event_type)
                        VALUES (k_text[2 * j - 1], k_text[2 * j]) RETURNING type_id INTO the_kind;
                    END IF;
                    kinds[j] := the_kind;
                END LOOP;
            END IF;
            INSERT INTO events (
                global_position, stream_id, recorded_at, checksum, version, type_id, event_id,
                metadata, claims, data
            )
            SELECT
                before + n, the_stream, moment,
                placed_checksum(e_checksum[event_start + n], before + n, the_version + n, moment),
                the_version + n, kinds[e_kind[event_start + n]], e_id[event_start + n],
                e_text[2 * (event_start + n) - 1], e_text[2 * (event_start + n)],
                e_data[event_start + n]
            FROM generate_series(1, event_count) n;
            head := head + event_count;
            the_version := the_version + event_count;
            the_position := head;
        END IF;

        FOR j IN schema_start .. schema_end LOOP
            SELECT k.schema_id INTO current_schema_id FROM event_schemas k
            WHERE k.event_type = s_text[2 * j - 1] AND k.first_position <= before + s_first[j]
            ORDER BY k.first_position DESC LIMIT 1;
            IF current_schema_id IS DISTINCT FROM s_text[2 * j] THEN
                INSERT INTO schemas (schema_id, files) VALUES (s_text[2 * j], s_files[j])
                ON CONFLICT DO NOTHING;
                INSERT INTO event_schemas (event_type, first_position, schema_id)
                VALUES (s_text[2 * j - 1], before + s_first[j], s_text[2 * j]);
            END IF;
        END LOOP;

        IF the_command IS NOT NULL THEN
            INSERT INTO commands (
                tenant, command_id, fingerprint, stream_id, version, global_position, recorded_at,
                checksum, response
            ) VALUES (
                the_tenant, the_command, r_text[5 * i], the_stream, the_version, the_position,
                moment, placed_checksum(r_checksum[i], the_position, the_version, moment),
                r_response[i]
            );
        END IF;
        version := the_version;
        global_position := the_position;
        RETURN NEXT;
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
