-- What followers keep with the log: a value under a kind and a key, changed by compare and swap.

CREATE TABLE records (
    kind       TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    revision   INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    value      TEXT    NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;

-- Reactions have kept their places elsewhere so far: up to which event they may have come.
INSERT INTO records (kind, key, revision, updated_at, value)
SELECT 'earlier', 'reactions', 1, recorded_at, json_object('position', global_position)
FROM events
ORDER BY global_position DESC
LIMIT 1;
