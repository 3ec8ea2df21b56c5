-- {schema} is the quoted name of the schema of the rows. Texts are compared by their bytes.
CREATE SCHEMA IF NOT EXISTS {schema};

CREATE TABLE IF NOT EXISTS {schema}.eskit_read_model (
    key TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
);

-- Which projection a table, view, sequence, function or type belongs to.
CREATE TABLE IF NOT EXISTS {schema}.eskit_objects (
    projection TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (kind, name)
);

-- What is kept of projections: checkpoints, dead letters, decisions and so on, as JSON. A
-- checkpoint changes with every batch: room in its page spares the index.
CREATE TABLE IF NOT EXISTS {schema}.eskit_records (
    kind TEXT COLLATE "C" NOT NULL,
    projection TEXT COLLATE "C" NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (kind, projection, key)
) WITH (fillfactor = 50);

-- Readers lock it for themselves and others; who exchanges rows locks it alone.
CREATE TABLE IF NOT EXISTS {schema}.eskit_gate ();
