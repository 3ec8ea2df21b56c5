CREATE TABLE IF NOT EXISTS eskit_read_model (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- A projection, its checkpoint, and the version of the code that made its rows. What has a place
-- besides its position, in a stream outside of the store, has it in `place`.
CREATE TABLE IF NOT EXISTS eskit_projections (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    place TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS eskit_failures (
    projection TEXT NOT NULL,
    phase TEXT NOT NULL,
    position INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    stream TEXT NOT NULL,
    error TEXT NOT NULL,
    traceback TEXT NOT NULL,
    failed_at INTEGER NOT NULL,
    PRIMARY KEY (projection, phase)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS eskit_migrations (
    projection TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    PRIMARY KEY (projection, number)
) WITHOUT ROWID;

-- Which projection a table, index, trigger or view belongs to.
CREATE TABLE IF NOT EXISTS eskit_objects (
    name TEXT PRIMARY KEY,
    projection TEXT NOT NULL
) WITHOUT ROWID;

-- Projections that somebody has paused; a rebuild does not resume them.
CREATE TABLE IF NOT EXISTS eskit_pauses (
    projection TEXT PRIMARY KEY,
    reason TEXT NOT NULL
) WITHOUT ROWID;

-- What people have decided about projections, and why.
CREATE TABLE IF NOT EXISTS eskit_decisions (
    id INTEGER PRIMARY KEY,
    projection TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at INTEGER NOT NULL
);

-- Events set aside, and those of their stream that wait behind them.
CREATE TABLE IF NOT EXISTS eskit_letters (
    projection TEXT NOT NULL,
    position INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    stream TEXT NOT NULL,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL,
    holds_stream INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    traceback TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (projection, position)
) WITHOUT ROWID;

-- Events that somebody has decided a projection never handles, whatever is rebuilt.
CREATE TABLE IF NOT EXISTS eskit_skips (
    projection TEXT NOT NULL,
    event_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    stream TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    PRIMARY KEY (projection, event_id)
) WITHOUT ROWID;

-- What handlers wanted to happen once outside of the read model, called or still to be called.
CREATE TABLE IF NOT EXISTS eskit_effects (
    projection TEXT NOT NULL,
    event_id TEXT NOT NULL,
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    function TEXT NOT NULL,
    arguments TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT NOT NULL DEFAULT '',
    called_at INTEGER,
    PRIMARY KEY (projection, event_id, name)
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS eskit_effects_due ON eskit_effects (projection, position) WHERE called_at IS NULL;
