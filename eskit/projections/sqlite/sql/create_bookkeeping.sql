CREATE TABLE IF NOT EXISTS eskit_read_model (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Which projection a table, index, trigger or view belongs to.
CREATE TABLE IF NOT EXISTS eskit_objects (
    name TEXT PRIMARY KEY,
    projection TEXT NOT NULL
) WITHOUT ROWID;

-- What is kept of projections: checkpoints, dead letters, decisions and so on, as JSON.
CREATE TABLE IF NOT EXISTS eskit_records (
    kind TEXT NOT NULL,
    projection TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, projection, key)
) WITHOUT ROWID
