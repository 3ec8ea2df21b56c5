-- Who erased which stream, when and why: the audit record that outlives what was erased.
-- `version` is the last version that was erased, `events` how many that erasure blanked.

CREATE TABLE erasures (
    erasure_id INTEGER PRIMARY KEY,
    stream_id  INTEGER NOT NULL REFERENCES streams,
    version    INTEGER NOT NULL,
    events     INTEGER NOT NULL,
    erased_at  INTEGER NOT NULL,
    erased_by  TEXT    NOT NULL,
    reason     TEXT    NOT NULL
);

CREATE INDEX erasures_by_stream ON erasures (stream_id);
