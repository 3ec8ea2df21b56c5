"""Who has a database open, asked before opening it."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.files.descriptors import is_open_here
from eskit.sqlite.url import file_uri

_PAUSE = 0.005
_SHARED_FIRST, _SHARED_LENGTH = 0x40000002, 510
"""The bytes that SQLite locks, by its documented file format."""


def lost_companion(path: Path, *, patience: float, clock: Clock = SYSTEM_CLOCK) -> Path | None:
    """A missing file that SQLite keeps beside a database that is open.

    Whoever has it open still uses the nameless file. Another one made by that name would not have
    what is in it, and two processes with a ``-shm`` each do not see the other's locks. While a
    database is being opened or closed the files may be missing for a moment, `patience` at most.
    """
    deadline = clock.monotonic() + patience
    while True:
        missing = next((file for file in _beside(path) if not file.exists()), None)
        if missing is None or not path.exists() or not is_in_use(path):
            return None
        if clock.monotonic() >= deadline:
            return missing
        clock.sleep(_PAUSE)


def is_in_use(path: Path) -> bool:
    """Whether anybody has the database open, in this process or another.

    Asked by opening it for oneself alone, which puts what a crash left in the ``-wal`` into it.
    False also where nobody may write to it.
    """
    uri = file_uri(path, mode="rw")
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as alone:
            alone.execute("PRAGMA locking_mode = EXCLUSIVE")
            alone.execute("BEGIN EXCLUSIVE")
            alone.execute("ROLLBACK")
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
    return False


def is_locked(path: Path) -> bool:
    """Whether anybody has the database open, asked without looking at what lies beside it.

    SQLite keeps a lock on these bytes of it then. Raises OSError where the file cannot be opened.
    """
    if is_open_here(path):
        return True
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_LENGTH, _SHARED_FIRST)
    except (BlockingIOError, PermissionError):
        return True
    finally:
        os.close(file)
    return False


def _beside(path: Path) -> tuple[Path, ...]:
    return Path(f"{path}-wal"), Path(f"{path}-shm")
