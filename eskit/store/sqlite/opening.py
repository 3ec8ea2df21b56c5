"""Opening the file: made if missing, refused if it is something else, read-only if it must."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eskit.clock import Clock
from eskit.errors import StoreDamaged, StoreUnavailable
from eskit.files.modes import make_if_missing
from eskit.sqlite.connections import check_not_forked, connect, wait_while_busy
from eskit.sqlite.errors import primary_code
from eskit.sqlite.place import find_status, may_not_be_read
from eskit.store.sqlite.leftovers import check_beside
from eskit.store.sqlite.schema import check_schema, create_schema, is_empty, read_store_id

_PAGE_SIZE = 1024
"""A quarter of SQLite's own: an append writes each page it touches whole, and events are small."""
_SMALLEST_DATABASE = 512
_READ_WRITE = "rw"
_READ_ONLY_FOLDER = "ro&immutable=1"
_NOTHING_CAN_BE_WRITTEN = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFile:
    """A file that is an eskit store of the current schema."""

    store_id: str
    read_mode: str


def open_file(
    path: Path, url: str, *, create: bool, timeout: float, file_mode: int, clock: Clock
) -> OpenedFile:
    """Check the file at `path` and say how its readers connect to it.

    A new one is made with `file_mode`, and so is what SQLite keeps beside it.
    """
    found = find_status(path, url)
    if found is None and not create:
        raise StoreUnavailable(
            f"There is no store at {url}",
            hint="Check its name, or create it: eskit store init",
        )
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise StoreDamaged(
            f"{url} is a folder", code="STORE_NOT_RECOGNISED", hint="Name a file in it."
        )
    # SQLite only says that it cannot open a file, be it missing or not allowed.
    if found is not None and not os.access(path, os.R_OK):
        raise may_not_be_read(url)
    check_not_forked(path)
    check_beside(path, url, timeout=timeout, clock=clock)
    if create:
        with suppress(OSError):  # told by SQLite
            make_if_missing(path, mode=file_mode)
    try:
        return _open_when_free(
            path,
            url,
            create=create,
            timeout=timeout,
            clock=clock,
            mode="rwc" if create else _READ_WRITE,
        )
    except sqlite3.OperationalError as error:
        # In WAL mode even a reader writes beside the file. Where it cannot, it can still read a
        # file that nobody has open: one without a WAL.
        if primary_code(error) not in _NOTHING_CAN_BE_WRITTEN or not _is_alone(path, url):
            raise
        return _open_when_free(
            path, url, create=False, timeout=timeout, clock=clock, mode=_READ_ONLY_FOLDER
        )


def _is_alone(path: Path, url: str) -> bool:
    there = find_status(path, url) is not None
    return there and find_status(Path(f"{path}-wal"), url) is None


def _open_when_free(
    path: Path, url: str, *, create: bool, timeout: float, clock: Clock, mode: str
) -> OpenedFile:
    """Wait for another process that is creating the same store."""
    return wait_while_busy(
        lambda: _open(path, url, create=create, timeout=timeout, clock=clock, mode=mode),
        url,
        timeout,
        clock,
    )


def _open(
    path: Path, url: str, *, create: bool, timeout: float, clock: Clock, mode: str
) -> OpenedFile:
    connection = connect(path, mode=mode)
    try:
        if is_empty(connection):
            found = find_status(path, url)
            if found is not None and 0 < found.st_size < _SMALLEST_DATABASE:
                # SQLite takes what is left of a file that was cut short for a new one.
                raise StoreDamaged(
                    f"{url} is too short to be a database",
                    code="STORE_NOT_RECOGNISED",
                    hint="Restore it from a backup.",
                )
            if not create:
                raise StoreDamaged(
                    f"{url} is an empty file, not an eskit store",
                    code="STORE_NOT_RECOGNISED",
                    hint="Remove it, or create the store: eskit store init",
                )
            connection.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode = WAL")
            create_schema(connection, url, timeout, clock)
        check_schema(connection, url)
        read_mode = mode if mode == _READ_ONLY_FOLDER else _READ_WRITE
        return OpenedFile(store_id=read_store_id(connection, url), read_mode=read_mode)
    finally:
        connection.close()
