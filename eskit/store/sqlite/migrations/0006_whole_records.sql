-- Checksums cover whole records: those of events did not, and commands had none. The column has a
-- new name, so that a process with an older eskit, which still has the file open, adds no event
-- with a checksum of the old kind. The checksums themselves are made anew behind this.

ALTER TABLE events RENAME COLUMN checksum TO record_checksum;
ALTER TABLE commands ADD COLUMN record_checksum INTEGER;

-- An event id is stored once. These are the ids that were given: one that eskit has made itself
-- begins with the time at which its event was recorded, and is found by it.

CREATE TABLE event_ids (
    event_id        BLOB PRIMARY KEY,
    global_position INTEGER NOT NULL
) WITHOUT ROWID;
