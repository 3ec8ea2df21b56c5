-- What the holders of locks say of themselves. A note counts while pg_locks shows that its backend
-- has the lock, so the table may lose all with a crash: it writes no WAL.
CREATE UNLOGGED TABLE IF NOT EXISTS eskit_holders (
    lock    text COLLATE "C" NOT NULL,
    backend integer NOT NULL,
    note    text    NOT NULL,
    PRIMARY KEY (lock, backend)
);

-- With the rights of the owner, so that whoever may take a lock can say so.
CREATE OR REPLACE FUNCTION eskit_write_note(lock text, backend integer, note text)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    INSERT INTO eskit_holders (lock, backend, note) VALUES ($1, $2, $3)
    ON CONFLICT (lock, backend) DO UPDATE SET note = excluded.note
$$;

CREATE OR REPLACE FUNCTION eskit_forget_notes(lock text, backend integer)
RETURNS void LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
    DELETE FROM eskit_holders h WHERE h.lock = $1 AND h.backend <> $2
$$;

REVOKE ALL ON FUNCTION eskit_write_note, eskit_forget_notes FROM PUBLIC;
