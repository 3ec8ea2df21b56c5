-- The schemas of the events, so that they can be read without the code that wrote them.
-- A row of event_schemas says which schema an event type has from a position of the log on.

CREATE TABLE schemas (
    schema_id TEXT PRIMARY KEY,
    files     BLOB NOT NULL
);

CREATE TABLE event_schemas (
    event_type     TEXT    NOT NULL,
    first_position INTEGER NOT NULL,
    schema_id      TEXT    NOT NULL REFERENCES schemas,
    PRIMARY KEY (event_type, first_position)
) WITHOUT ROWID;
