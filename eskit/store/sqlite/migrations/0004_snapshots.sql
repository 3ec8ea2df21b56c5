-- Folded states of streams. The log can replace every one of them.

CREATE TABLE snapshots (
    stream_id    INTEGER NOT NULL REFERENCES streams,
    version      INTEGER NOT NULL,
    event_id     BLOB    NOT NULL,
    state_schema TEXT    NOT NULL,
    fold_version INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    checksum     TEXT    NOT NULL,
    state        BLOB    NOT NULL,
    UNIQUE (stream_id, version)
);
