"""What lies beside the file of a store before it is opened, and what is refused then."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import StoreUnavailable
from eskit.sqlite.connections import connect
from eskit.sqlite.leftovers import find_foreign_wal, wal_of
from eskit.sqlite.usage import lost_companion

_LONGEST_PATIENCE = 1.0


def check_beside(path: Path, url: str, *, timeout: float, clock: Clock = SYSTEM_CLOCK) -> None:
    """Raise StoreUnavailable where SQLite would take the wrong files for those of the store.

    That is a ``-wal`` that another store has left, and files that are missing although somebody
    has the store open.
    """
    if not path.exists():
        _refuse_orphans(path, url)
        return
    wal = find_foreign_wal(path, _find_store_id)
    if wal is not None:
        raise StoreUnavailable(
            f"{path.name} replaced another file, whose last events are in {wal.name}",
            hint=f"Put that file back to keep them. To continue without them: rm {wal} {path}-shm",
        )
    lost = lost_companion(path, patience=min(timeout, _LONGEST_PATIENCE), clock=clock)
    if lost is not None:
        raise StoreUnavailable(
            f"Another process has {url} open, and {lost.name} was deleted meanwhile",
            hint="Stop that process first: it saves what was committed. Then try again.",
        )


def _refuse_orphans(path: Path, url: str) -> None:
    wal = wal_of(path)
    with suppress(OSError):
        if wal.stat().st_size and not path.exists():  # it comes before its ``-wal``
            raise StoreUnavailable(
                f"There is no file at {url}, but {wal.name} is there, with the last events of one",
                hint=f"Put the file back, or if it is not needed: rm {wal}",
            )


def _find_store_id(path: Path) -> str | None:
    try:
        with closing(connect(path, mode="ro&immutable=1")) as alone:
            row = alone.execute("SELECT value FROM store WHERE key = 'store_id'").fetchone()
    except sqlite3.Error:  # told when it is opened
        return None
    return None if row is None else str(row[0])
