"""Erasing a stream for good: its rows first, then what is left of them in the file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from eskit.clock import Clock
from eskit.domain.events import erased_metadata, is_erased
from eskit.domain.time import to_microseconds
from eskit.errors import StoreUnavailable, StreamNotFound
from eskit.sqlite.connections import connect, wait_while_busy
from eskit.sqlite.errors import store_error
from eskit.sqlite.interrupting import let_interrupt, was_interrupted
from eskit.store.records import Erasure
from eskit.store.sqlite.checksums import add_functions
from eskit.store.sqlite.queries import query

_PAGE = 1000
_PAUSE = 0.05


def erase_stream(connection: sqlite3.Connection, erasure: Erasure) -> Erasure:
    """Blank a stream inside an open write transaction, and record it if there was something."""
    stream_id, version = _find_stream(connection, erasure.stream, erasure.tenant)
    add_functions(connection)
    events = _blank_events(connection, stream_id)
    connection.execute(query("erase_claims"), (stream_id,))
    connection.execute(query("erase_responses"), (stream_id, erasure.stream))
    connection.execute(query("erase_snapshots"), (stream_id,))
    done = erasure.of(version=version, events=events)
    if done.events:
        erased_at = to_microseconds(done.erased_at)
        row = stream_id, done.version, done.events, erased_at, done.erased_by, done.reason
        connection.execute(query("save_erasure"), row)
    return done


def scrub(path: Path, url: str, *, timeout: float, clock: Clock) -> None:
    """Write the file anew and empty its WAL.

    Overwriting rows is not enough: pages that SQLite once split or freed may hold copies.
    """
    with closing(connect(path, mode="rw")) as connection:
        let_interrupt(connection)
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        try:
            wait_while_busy(lambda: connection.execute("VACUUM"), url, timeout, clock)
        except (sqlite3.Error, StoreUnavailable) as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            reason = store_error(error, url) if isinstance(error, sqlite3.Error) else error
            raise StoreUnavailable(
                f"What was erased may still be in free space of {path.name}: {reason}",
                hint="Fix the cause, then run the erasure again to finish it.",
            ) from error
        deadline = clock.monotonic() + timeout
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if clock.monotonic() >= deadline:
                raise StoreUnavailable(
                    f"What was erased may still be in {path.name}-wal: {url} is being read",
                    hint="Erase the stream again when long reads have ended; that finishes it.",
                )
            clock.sleep(_PAUSE)


def _find_stream(connection: sqlite3.Connection, stream: str, tenant: str) -> tuple[int, int]:
    row = connection.execute(query("find_stream"), (stream, tenant)).fetchone()
    if row is None or not row[1]:
        raise StreamNotFound(stream)
    return row[0], row[1]


def _blank_events(connection: sqlite3.Connection, stream_id: int) -> int:
    version = events = 0
    while True:
        page = connection.execute(
            query("read_stream_metadata"), (stream_id, version, _PAGE)
        ).fetchall()
        left = [
            (position, erased_metadata(metadata))
            for position, _, metadata in page
            if not is_erased(metadata)
        ]
        connection.executemany(query("erase_event"), left)
        events += len(left)
        if len(page) < _PAGE:
            return events
        version = page[-1][1]
