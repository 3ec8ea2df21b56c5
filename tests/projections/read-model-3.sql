BEGIN TRANSACTION;
CREATE TABLE counts (key TEXT PRIMARY KEY, amount INTEGER NOT NULL);
INSERT INTO "counts" VALUES('a',3);
CREATE TABLE counts_seen (position INTEGER NOT NULL);
INSERT INTO "counts_seen" VALUES(1);
CREATE TABLE eskit_decisions (
    id INTEGER PRIMARY KEY,
    projection TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at INTEGER NOT NULL
);
INSERT INTO "eskit_decisions" VALUES(1,'counts','skip','3 ledger.v1.Counted of Account-1','booked twice','ann',1709208000000000);
INSERT INTO "eskit_decisions" VALUES(2,'counts','pause','at 7','rates are wrong','bob',1709208000000000);
INSERT INTO "eskit_decisions" VALUES(3,'gone','drop','at 2','not needed','bob',1709208000000000);
CREATE TABLE eskit_effects (
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
INSERT INTO "eskit_effects" VALUES('counts','019367a0-0000-7000-8000-000000000001','mail',1,'tests.projections.ledger:mail','{"args": [], "kwargs": {}}',1,'',1796001959113854);
INSERT INTO "eskit_effects" VALUES('counts','019367a0-0000-7000-8000-000000000002','mail',2,'tests.projections.ledger:mail','{"args": [], "kwargs": {}}',1,'OSError: down',NULL);
CREATE TABLE eskit_failures (
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
INSERT INTO "eskit_failures" VALUES('counts','rebuild',4,'019367a0-0000-7000-8000-000000000004','ledger.v1.Counted','Account-1','KeyError: ''eur''','Traceback …',1709208000000000);
INSERT INTO "eskit_failures" VALUES('counts','run',8,'019367a0-0000-7000-8000-000000000008','ledger.v1.Counted','Account-1','KeyError: ''eur''','Traceback …',1709208000000000);
CREATE TABLE eskit_letters (
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
INSERT INTO "eskit_letters" VALUES('counts',5,'019367a0-0000-7000-8000-000000000005','ledger.v1.Counted','Account-1','acme','failed',1,3,'KeyError: ''eur''','Traceback …',1709208000000000);
INSERT INTO "eskit_letters" VALUES('counts',6,'019367a0-0000-7000-8000-000000000006','ledger.v1.Counted','Account-1','acme','waiting',1,0,'','',1709208000000000);
CREATE TABLE eskit_migrations (
    projection TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    checksum TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    PRIMARY KEY (projection, number)
) WITHOUT ROWID;
INSERT INTO "eskit_migrations" VALUES('counts',1,'0001_counts','ec4ec9499758177e5d0e605c3270082a4a90aced370b1074b607d46da0b14a13',1796001959112936);
CREATE TABLE eskit_objects (
    name TEXT PRIMARY KEY,
    projection TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "eskit_objects" VALUES('counts','counts');
INSERT INTO "eskit_objects" VALUES('counts_seen','counts');
CREATE TABLE eskit_pauses (
    projection TEXT PRIMARY KEY,
    reason TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "eskit_pauses" VALUES('counts','rates are wrong');
CREATE TABLE eskit_projections (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    store_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    place TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
INSERT INTO "eskit_projections" VALUES('counts',2,'0f5a5c1e-8a77-4d1e-9d53-6f1c2d1e5f0a',7,'019367a0-0000-7000-8000-000000000007',1796001959113538,'stream 12');
CREATE TABLE eskit_read_model (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "eskit_read_model" VALUES('schema_version','3');
CREATE TABLE eskit_skips (
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
INSERT INTO "eskit_skips" VALUES('counts','019367a0-0000-7000-8000-000000000003',3,'ledger.v1.Counted','Account-1','booked twice','ann',1709208000000000);
CREATE INDEX eskit_effects_due ON eskit_effects (projection, position) WHERE called_at IS NULL;
COMMIT;
