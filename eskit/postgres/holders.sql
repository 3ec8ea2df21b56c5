-- What the holders of locks say of themselves. A note counts while pg_locks shows that its backend
-- has the lock, so the table may lose all with a crash: it writes no WAL.
CREATE UNLOGGED TABLE IF NOT EXISTS holders (
    lock    text COLLATE "C" NOT NULL,
    backend integer NOT NULL,
    note    text    NOT NULL,
    PRIMARY KEY (lock, backend)
);
