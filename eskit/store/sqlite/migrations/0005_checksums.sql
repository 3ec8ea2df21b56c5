-- Of metadata and payload, made when the event is recorded or erased; events from before have none.

ALTER TABLE events ADD COLUMN checksum INTEGER;
