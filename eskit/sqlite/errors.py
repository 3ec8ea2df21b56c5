"""SQLite's errors to eskit's, by their code."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from eskit.errors import StoreDamaged, StoreError, StoreUnavailable
from eskit.sqlite.interrupting import was_interrupted

_ANOTHER_SCHEMA = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_SCHEMA}
_RESTORE = "Restore it from a backup."
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: ("is locked by another process", "Try again when it has finished."),
    sqlite3.SQLITE_LOCKED: ("is locked", "Try again when the other use has finished."),
    sqlite3.SQLITE_READONLY: ("is read-only", "Check the permissions of the file and its folder."),
    sqlite3.SQLITE_PERM: (
        "cannot be used: permission denied",
        "Check the permissions of the file and its folder.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "Check that the folder exists and may be written to.",
    ),
    sqlite3.SQLITE_FULL: ("cannot grow: the disk is full", "Free some space and try again."),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "Check the disk it lies on."),
    sqlite3.SQLITE_NOMEM: ("ran out of memory", "Free some memory and try again."),
    sqlite3.SQLITE_INTERRUPT: ("was interrupted", "Try again."),
}


def primary_code(error: sqlite3.Error | MemoryError) -> int:
    """The result code without its extension; 0 for errors that SQLite itself did not raise."""
    if isinstance(error, MemoryError):  # what the sqlite3 module makes of that one code
        return sqlite3.SQLITE_NOMEM
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def store_error(error: sqlite3.Error | MemoryError, url: str) -> StoreError:
    """The eskit error for what SQLite reported about the store at `url`."""
    code = primary_code(error)
    if code == sqlite3.SQLITE_NOTADB:
        return StoreDamaged(
            f"{url} is not a SQLite database",
            code="STORE_NOT_RECOGNISED",
            hint="Check the path of the store.",
        )
    if code == sqlite3.SQLITE_CORRUPT or _is_about_text(error):
        return StoreDamaged(f"{url} is damaged: {error}", hint=_RESTORE)
    if code in _ANOTHER_SCHEMA:
        return StoreDamaged(
            f"{url} is damaged or not an eskit store: {error}",
            code="STORE_NOT_RECOGNISED",
            hint=_RESTORE,
        )
    what, hint = _UNAVAILABLE.get(code, (f"cannot be used: {error}", ""))
    return StoreUnavailable(f"{url} {what}", hint=hint)


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Raise SQLite's errors as eskit's."""
    try:
        yield
    except (sqlite3.Error, MemoryError) as error:
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        raise store_error(error, url) from error
    except UnicodeDecodeError as error:
        # SQLite's message quotes a schema that is damaged, and Python cannot read the message.
        raise StoreDamaged(f"{url} is damaged: its schema is no text", hint=_RESTORE) from error


def _is_about_text(error: Exception) -> bool:
    """Whether SQLite returned a text that is no UTF-8: Python alone says so, without a code."""
    return isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")
