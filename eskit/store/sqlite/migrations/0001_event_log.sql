-- The log. Positions are the rowid, assigned under the write lock, so they grow in commit order.

CREATE TABLE store (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE streams (
    stream_id INTEGER PRIMARY KEY,
    name      TEXT NOT NULL,
    tenant    TEXT NOT NULL,
    category  TEXT NOT NULL,
    UNIQUE (name, tenant)
);

-- One small key for category and event type together: one index serves both filters.
CREATE TABLE kinds (
    kind_id    INTEGER PRIMARY KEY,
    category   TEXT NOT NULL,
    event_type TEXT NOT NULL,
    UNIQUE (category, event_type)
);

-- event_id has no index: a unique index on random ids halves the insert rate.
CREATE TABLE events (
    global_position INTEGER PRIMARY KEY,
    stream_id       INTEGER NOT NULL REFERENCES streams,
    version         INTEGER NOT NULL,
    kind_id         INTEGER NOT NULL REFERENCES kinds,
    event_id        BLOB    NOT NULL,
    recorded_at     INTEGER NOT NULL,
    metadata        TEXT    NOT NULL,
    claims          TEXT,
    data            BLOB    NOT NULL
);

CREATE UNIQUE INDEX events_by_stream ON events (stream_id, version);
CREATE INDEX events_by_kind ON events (kind_id);

CREATE TABLE claims (
    tenant     TEXT    NOT NULL,
    index_name TEXT    NOT NULL,
    value      TEXT    NOT NULL,
    stream_id  INTEGER NOT NULL REFERENCES streams,
    PRIMARY KEY (tenant, index_name, value)
) WITHOUT ROWID;

CREATE TABLE commands (
    tenant          TEXT    NOT NULL,
    command_id      TEXT    NOT NULL,
    fingerprint     TEXT    NOT NULL,
    stream_id       INTEGER NOT NULL REFERENCES streams,
    version         INTEGER NOT NULL,
    global_position INTEGER NOT NULL,
    recorded_at     INTEGER NOT NULL,
    response        BLOB    NOT NULL,
    PRIMARY KEY (tenant, command_id)
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    name       TEXT PRIMARY KEY,
    store_id   TEXT    NOT NULL,
    position   INTEGER NOT NULL,
    event_id   TEXT    NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
