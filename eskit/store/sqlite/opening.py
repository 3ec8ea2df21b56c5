"""Opening the file: made if missing, refused if it is something else, read-only if it must."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from eskit.errors import StoreNotRecognised, StoreUnavailable
from eskit.store.sqlite.connections import connect
from eskit.store.sqlite.errors import primary_code
from eskit.store.sqlite.schema import check_schema, create_schema, is_empty, read_store_id

_READ_WRITE = "rw"
_READ_ONLY_FOLDER = "ro&immutable=1"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFile:
    """A file that is an eskit store of the current schema."""

    store_id: str
    read_mode: str


def open_file(path: Path, url: str, *, create: bool, timeout: float) -> OpenedFile:
    """Check the file at `path` and say how its readers connect to it."""
    if not path.exists() and not create:
        raise StoreUnavailable(
            f"There is no store at {url}",
            hint="It is created by the first command that writes, or by: eskit store init",
        )
    if path.is_dir():
        raise StoreNotRecognised(f"{url} is a folder", hint="Name a file in it.")
    try:
        return _open(
            path, url, create=create, timeout=timeout, mode="rwc" if create else _READ_WRITE
        )
    except sqlite3.OperationalError as error:
        # In WAL mode even a reader needs to write beside the file, unless nobody else can.
        alone = path.exists() and not Path(f"{path}-wal").exists()
        if primary_code(error) != sqlite3.SQLITE_CANTOPEN or not alone:
            raise
        return _open(path, url, create=False, timeout=timeout, mode=_READ_ONLY_FOLDER)


def _open(path: Path, url: str, *, create: bool, timeout: float, mode: str) -> OpenedFile:
    connection = connect(path, mode=mode)
    try:
        if is_empty(connection):
            if not create:
                raise StoreNotRecognised(
                    f"{url} is an empty file, not an eskit store",
                    hint="Remove it, or create the store: eskit store init",
                )
            _use_wal(connection, timeout)
            create_schema(connection, url, timeout)
        check_schema(connection, url)
        read_mode = mode if mode == _READ_ONLY_FOLDER else _READ_WRITE
        return OpenedFile(store_id=read_store_id(connection, url), read_mode=read_mode)
    finally:
        connection.close()


def _use_wal(connection: sqlite3.Connection, timeout: float) -> None:
    """Switch to WAL; another process that is doing the same is waited for."""
    connection.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA busy_timeout = 0")
