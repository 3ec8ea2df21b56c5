-- The log. Positions are given out under one lock for each store, so they grow in commit order and
-- have no gaps. Texts that are looked up are compared byte by byte, whatever the server's locale.

CREATE TABLE store (
    key   text COLLATE "C" PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE streams (
    stream_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name      text COLLATE "C" NOT NULL,
    tenant    text COLLATE "C" NOT NULL,
    category  text COLLATE "C" NOT NULL,
    UNIQUE (name, tenant)
);

-- One small key for category and event type together: one index serves both filters.
CREATE TABLE event_types (
    type_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    category   text COLLATE "C" NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    UNIQUE (category, event_type)
);

-- No foreign keys: they triple the time of an insert. The function `append` is the only writer.
-- recorded_at is microseconds since 1970 UTC. Wide columns come last.
CREATE TABLE events (
    global_position bigint PRIMARY KEY,
    stream_id       bigint  NOT NULL,
    recorded_at     bigint  NOT NULL,
    checksum        bigint  NOT NULL,
    version         integer NOT NULL,
    type_id         integer NOT NULL,
    event_id        uuid    NOT NULL,
    metadata        text    NOT NULL,
    claims          text,
    data            bytea   NOT NULL
);

CREATE UNIQUE INDEX events_by_stream ON events (stream_id, version);
CREATE UNIQUE INDEX events_by_id ON events (event_id);
CREATE INDEX events_by_type ON events (type_id, global_position);

-- A table that only grows: vacuum by a number of new rows, not by a share of all.
ALTER TABLE events SET (
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 50000
);

-- A long value has no room in an index, so a claim is found by its digest.
CREATE TABLE claims (
    tenant     text COLLATE "C" NOT NULL,
    index_name text COLLATE "C" NOT NULL,
    digest     bytea  NOT NULL,
    value      text   NOT NULL,
    stream_id  bigint NOT NULL,
    PRIMARY KEY (tenant, index_name, digest)
);

CREATE TABLE commands (
    tenant          text COLLATE "C" NOT NULL,
    command_id      text COLLATE "C" NOT NULL,
    fingerprint     text    NOT NULL,
    stream_id       bigint  NOT NULL,
    version         integer NOT NULL,
    global_position bigint  NOT NULL,
    recorded_at     bigint  NOT NULL,
    checksum        bigint  NOT NULL,
    response        bytea   NOT NULL,
    PRIMARY KEY (tenant, command_id)
);

CREATE TABLE checkpoints (
    name       text COLLATE "C" PRIMARY KEY,
    store_id   text   NOT NULL,
    position   bigint NOT NULL,
    event_id   text   NOT NULL,
    updated_at bigint NOT NULL
);

-- What followers keep with the log: a value under a kind and a key, changed by compare and swap.
CREATE TABLE records (
    kind       text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    revision   bigint NOT NULL,
    updated_at bigint NOT NULL,
    value      text   NOT NULL,
    PRIMARY KEY (kind, key)
);

-- Who erased which stream, when and why: the audit record that outlives what was erased.
CREATE TABLE erasures (
    erasure_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream_id  bigint  NOT NULL,
    version    integer NOT NULL,
    events     integer NOT NULL,
    erased_at  bigint  NOT NULL,
    erased_by  text    NOT NULL,
    reason     text    NOT NULL
);

CREATE INDEX erasures_by_stream ON erasures (stream_id);

-- The schemas of the events, so that they can be read without the code that wrote them.
-- A row of event_schemas says which schema an event type has from a position of the log on.
CREATE TABLE schemas (
    schema_id text COLLATE "C" PRIMARY KEY,
    files     bytea NOT NULL
);

CREATE TABLE event_schemas (
    event_type     text COLLATE "C" NOT NULL,
    first_position bigint NOT NULL,
    schema_id      text COLLATE "C" NOT NULL,
    PRIMARY KEY (event_type, first_position)
);

-- Folded states of streams. The log can replace every one of them.
CREATE TABLE snapshots (
    stream_id    bigint  NOT NULL,
    version      integer NOT NULL,
    event_id     bytea   NOT NULL,
    state_schema text    NOT NULL,
    fold_version bigint  NOT NULL,
    created_at   bigint  NOT NULL,
    checksum     text    NOT NULL,
    state        bytea   NOT NULL,
    PRIMARY KEY (stream_id, version)
);
