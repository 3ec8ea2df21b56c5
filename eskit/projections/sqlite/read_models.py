"""A read-model file in use: its readers, its writer, and the rebuilds beside it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import ReadModelUnavailable
from eskit.files.lock import LockFile
from eskit.files.modes import mode_of
from eskit.projections.database import Database
from eskit.projections.port import Activity
from eskit.projections.records import Kind, Record
from eskit.projections.sqlite.connection import (
    LoneReader,
    WriteLock,
    check_not_forked,
    connect,
    translated,
)
from eskit.projections.sqlite.live import SqliteLiveReadModel
from eskit.projections.sqlite.read_model import (
    SCHEMA_VERSION,
    check_schema_version,
    find_records,
    find_schema_version,
)
from eskit.projections.sqlite.shadow import shadow_path
from eskit.sqlite.identity import DatabaseFiles
from eskit.sqlite.url import file_mode, sqlite_path

Found = TypeVar("Found")


class SqliteReadModels:
    """See `eskit.projections.port.ReadModels`.

    Beside ``bank_read.db`` lie ``bank_read.db-locks/`` and, during a rebuild,
    ``bank_read.db-rebuild-<projection>``.
    """

    def __init__(self, url: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.url = url
        self._clock = clock
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if url.startswith("memory://"):
            self._temporary = tempfile.TemporaryDirectory(prefix="eskit-read-models-")
            self.path = Path(self._temporary.name) / "read.db"
        else:
            self.path = sqlite_path(url).absolute()
        self._file_mode = file_mode(url)
        self._idle: list[sqlite3.Connection] = []
        self._files: DatabaseFiles | None = None
        self._readers: set[sqlite3.Connection] = set()  # those of these files
        self._mutex = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    def open(self, *, stop: threading.Event | None = None) -> SqliteLiveReadModel:
        """Open the file for writing; ReadModelUnavailable if its folder is missing."""
        if not self.path.parent.is_dir():
            raise ReadModelUnavailable(
                f"No folder {self.path.parent} for read model {self.path.name}",
                hint="Create it, or set read_models in the project's settings.",
            )
        mode = self._mode
        lock = WriteLock(self._locks / "write", stop=stop, clock=self._clock, mode=mode)
        return SqliteLiveReadModel(self.path, lock=lock, file_mode=mode, clock=self._clock)

    @contextmanager
    def reader(self) -> Iterator[Database]:
        """A read-only connection, from a pool, inside one read transaction."""
        if not self.path.exists():
            raise ReadModelUnavailable(
                f"No read model {self.path} yet", hint="Make it: eskit project run"
            )
        connection = self._borrow()
        try:
            with translated(self.path):
                connection.execute("BEGIN")
            yield Database(connection)
        finally:
            connection.rollback()
            self._give_back(connection)

    def records(
        self, kind: Kind, name: str | None = None, key: str | None = None, *, shadow: bool = False
    ) -> list[Record]:
        """Rows of eskit_records, in the file or in that of an unfinished rebuild."""
        if shadow:
            return self._shadow_records(kind, name, key) if name is not None else []
        found = self._look(lambda connection: find_records(connection, kind, name, key))
        return found or []

    def lock(self, name: str, activity: Activity) -> LockFile:
        """A lock file in the folder beside the database."""
        return LockFile(
            self._locks / f"{name}.{activity}",
            unavailable=ReadModelUnavailable,
            clock=self._clock,
            mode=self._mode,
        )

    def close(self) -> None:
        """Close every idle connection, and delete what was only temporary.

        In a forked child all of it is its parent's, and is left alone.
        """
        if os.getpid() != self._process:
            return
        with self._mutex:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def _mode(self) -> int:
        """What is made beside the file is for those who may read the file."""
        return mode_of(self.path, self._file_mode)

    @property
    def _locks(self) -> Path:
        return Path(f"{self.path}-locks")

    def _shadow_records(self, kind: Kind, name: str, key: str | None) -> list[Record]:
        path = shadow_path(self.path, name, "rebuild")
        if not path.exists():
            return []
        connection = connect(path, mode="ro")
        try:
            with translated(path):
                known = find_schema_version(connection) == SCHEMA_VERSION
                return find_records(connection, kind, name, key) if known else []
        finally:
            connection.close()

    def _look(self, look: Callable[[sqlite3.Connection], Found]) -> Found | None:
        """Ask the file something; None where nothing was written yet."""
        path = self.path
        if not path.exists():
            return None
        connection = self._borrow()
        try:
            with translated(path):
                version = find_schema_version(connection)
                if version is None:
                    return None
                check_schema_version(path, version)
                if version == SCHEMA_VERSION:
                    return look(connection)
        finally:
            self._give_back(connection)
        # Written by an older eskit: opening it to write brings its bookkeeping up to date.
        self.open().close()
        return self._look(look)

    def _borrow(self) -> sqlite3.Connection:
        check_not_forked(self.path)
        with self._mutex:
            if self._files is None or self._files.find_lost() is not None:
                for stale in self._idle:
                    stale.close()
                self._idle, self._readers = [], set()
                self._files = DatabaseFiles(self.path)
            if self._idle:
                return self._idle.pop()
            files, readers = self._files, self._readers
        connection = connect(self.path, mode="ro")
        if not isinstance(connection, LoneReader):
            readers.add(connection)
            files.opened()
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._mutex:
            if not self._closed and connection in self._readers:
                self._idle.append(connection)
                return
        connection.close()
