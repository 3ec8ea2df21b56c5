"""Rows and records of one or more projections in one SQLite file, opened for writing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from eskit.errors import ReadModelUnavailable
from eskit.files.modes import PRIVATE
from eskit.projections.database import Database
from eskit.projections.migrations import Migration
from eskit.projections.records import Kind, Record
from eskit.projections.sqlite.connection import (
    Transactions,
    WriteLock,
    connect,
    is_transient,
    translated,
)
from eskit.projections.sqlite.migrations import apply_migrations
from eskit.projections.sqlite.sql import query
from eskit.projections.sqlite.swap import drop_tables
from eskit.projections.sqlite.upgrading import read_older_bookkeeping
from eskit.sqlite.leftovers import forget_files

SCHEMA_VERSION = 4


class SqliteReadModel:
    """See `eskit.projections.port.ReadModel`."""

    def __init__(self, path: Path, *, lock: WriteLock, file_mode: int = PRIVATE) -> None:
        self.path = path
        self._lock = lock
        self._connection = connect(path, mode="rwc", file_mode=file_mode)
        self._transactions = Transactions(self._connection, path, lock)
        self._db = Database(self._connection)
        try:
            self._create_bookkeeping()
        except BaseException:
            self.close()
            raise

    @property
    def db(self) -> Database:
        """What handlers are given."""
        return self._db

    def transaction(self) -> AbstractContextManager[None]:
        """The only write transaction on the file, of all processes; a savepoint inside another."""
        return self._transactions.write()

    def flush(self) -> None:
        """Nothing: SQLite runs every statement at once."""

    def is_transient(self, error: BaseException) -> bool:
        """Whether SQLite reports a condition of disk, file or memory."""
        return is_transient(error)

    def records(self, kind: Kind, name: str | None = None, key: str | None = None) -> list[Record]:
        """Rows of eskit_records."""
        with translated(self.path):
            return find_records(self._connection, kind, name, key)

    def save(self, record: Record) -> None:
        """Write a row of eskit_records."""
        row = (record.kind, record.projection, record.key, record.value)
        with translated(self.path):
            self._connection.execute(query("save_record"), row)

    def delete(self, kind: Kind, name: str, key: str) -> None:
        """Delete a row of eskit_records."""
        with translated(self.path):
            self._connection.execute(query("delete_record"), (kind, name, key))

    def migrate(self, name: str, migrations: Sequence[Migration]) -> None:
        """Run the statements one by one, and note in eskit_objects what they make."""
        with translated(self.path):
            apply_migrations(self._connection, name, migrations)

    def drop(self, name: str) -> None:
        """Drop what eskit_objects has of the projection."""
        with translated(self.path):
            drop_tables(self._connection, name)

    def rename(self, old: str, new: str) -> None:
        """Write the new name into eskit's own tables."""
        with translated(self.path):
            for statement in query("rename_projection").split(";\n"):
                self._connection.execute(statement, {"old": old, "new": new})

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._lock.close()
        forget_files(Path(os.path.realpath(self.path)))

    def _create_bookkeeping(self) -> None:
        with translated(self.path):
            found = find_schema_version(self._connection)
            if found is None or found < SCHEMA_VERSION:
                with self.transaction():
                    self._upgrade(find_schema_version(self._connection))
            else:
                check_schema_version(self.path, found)

    def _upgrade(self, version: int | None) -> None:
        """Make eskit's own tables, with what an older version has kept in others."""
        for statement in query("create_bookkeeping").split(";\n"):
            self._connection.execute(statement)
        if version is not None and version < SCHEMA_VERSION:
            read_older_bookkeeping(self, self._connection)
        self._connection.execute(
            "INSERT OR REPLACE INTO eskit_read_model (key, value) VALUES (?, ?)",
            ("schema_version", str(SCHEMA_VERSION)),
        )


def find_schema_version(connection: sqlite3.Connection) -> int | None:
    """The version of eskit's own tables; None where there are none yet."""
    try:
        (version,) = connection.execute(
            "SELECT value FROM main.eskit_read_model WHERE key = 'schema_version'"
        ).fetchone()
    except sqlite3.OperationalError:
        known = "SELECT 1 FROM main.sqlite_master WHERE name = 'eskit_read_model'"
        if connection.execute(known).fetchone():
            raise
        return None
    return int(version)


def check_schema_version(path: Path, version: int) -> None:
    """Refuse a file whose bookkeeping a newer eskit has written."""
    if version > SCHEMA_VERSION:
        raise ReadModelUnavailable(
            f"Read model {path} was written by a newer eskit (version {version} of its tables)",
            hint="Upgrade eskit, or choose another file in read_models.",
        )


def find_records(
    connection: sqlite3.Connection, kind: Kind, name: str | None, key: str | None
) -> list[Record]:
    """The records of a kind, by projection and then key."""
    if name is None:
        found = connection.execute(query("list_records"), (kind,))
    elif key is None:
        found = connection.execute(query("find_records"), (kind, name))
    else:
        found = connection.execute(query("find_record"), (kind, name, key))
    return [Record(*row) for row in found]
