-- Who may do what with one store. Run this in the database of the store, as a superuser or as the
-- owner of the database with the right to create roles: before the store is made or after it, again
-- whenever you like. `eskit store roles` fills in the names; psql does, too:
--
--   psql -v schema=bank -v owner=bank_owner -v writer=bank_writer -v reader=bank_reader -f roles.sql
--
--   owner   makes, migrates, imports, erases, prunes and repairs: schema, tables and functions are its own
--   writer  reads, and executes the functions that append and keep places, records and snapshots
--   reader  reads
--
-- A role that is not there is made without a password. Set one in psql: \password bank_writer

BEGIN;

SELECT
    set_config('eskit.schema', :'schema', true), set_config('eskit.owner', :'owner', true),
    set_config('eskit.writer', :'writer', true), set_config('eskit.reader', :'reader', true);

DO $$
DECLARE
    the_schema CONSTANT text := current_setting('eskit.schema');
    owner CONSTANT text := current_setting('eskit.owner');
    writer CONSTANT text := current_setting('eskit.writer');
    reader CONSTANT text := current_setting('eskit.reader');
    one text;
    made record;
BEGIN
    FOREACH one IN ARRAY ARRAY[owner, writer, reader] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = one) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', one);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), one);
    END LOOP;
    -- Who is no superuser gives away only what it could take back.
    IF NOT pg_has_role(owner, 'USAGE') THEN
        EXECUTE format('GRANT %I TO CURRENT_USER', owner);
    END IF;
    -- An import collects its events in a temporary table.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), owner);

    IF EXISTS (SELECT FROM pg_namespace WHERE nspname = the_schema) THEN
        EXECUTE format('ALTER SCHEMA %I OWNER TO %I', the_schema, owner);
    ELSE
        EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', the_schema, owner);
    END IF;
    FOR made IN
        SELECT c.oid::regclass AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = the_schema AND c.relkind = 'r'
    LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO %I', made.name, owner);
    END LOOP;
    FOR made IN
        SELECT p.oid::regprocedure AS name, p.prosecdef AS writes
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = the_schema
    LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO %I', made.name, owner);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %I, %I', made.name, writer, reader);
        IF made.writes THEN
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', made.name);
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', made.name, writer);
        END IF;
    END LOOP;

    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC, %I, %I', the_schema, writer, reader);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', the_schema, writer, reader);
    EXECUTE format(
        'REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM PUBLIC, %I, %I', the_schema, writer, reader
    );
    EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I, %I', the_schema, writer, reader);
    -- The same for what the owner makes later, with the store or with a migration.
    EXECUTE format(
        'ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT SELECT ON TABLES TO %I, %I',
        owner, the_schema, writer, reader
    );
    EXECUTE format(
        'ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I GRANT EXECUTE ON FUNCTIONS TO %I',
        owner, the_schema, writer
    );
END
$$;

COMMIT;
