"""A read-model file in use: its readers, its writer, and the rebuilds beside it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import ReadModelUnavailable
from eskit.files.modes import mode_of
from eskit.projections.checkpoints import check_version
from eskit.projections.database import Database
from eskit.projections.locks import Activity, ProjectionLock
from eskit.projections.port import Purpose
from eskit.projections.projection import Projection
from eskit.projections.records import DeadLetter, Decision, Effect, Failure, ProjectionState, Skip
from eskit.projections.sqlite.connection import (
    LoneReader,
    WriteLock,
    check_not_forked,
    connect,
    file_uri,
    translated,
)
from eskit.projections.sqlite.migrations import find_pending, load_migrations
from eskit.projections.sqlite.readmodel import (
    SCHEMA_VERSION,
    SqliteReadModel,
    check_schema_version,
    find_failures,
    find_schema_version,
    find_state,
    list_decisions,
    list_states,
)
from eskit.projections.sqlite.records import find_dead_letters, find_effects, find_skips
from eskit.projections.sqlite.shadow import SqliteShadowReadModel, can_go_on, shadow_path
from eskit.projections.sqlite.swap import SHADOW, drop_tables, swap_tables
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
        self.clock = clock
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
        lock = WriteLock(self._locks / "write", stop=stop, clock=self.clock, mode=mode)
        return SqliteLiveReadModel(self.path, lock=lock, file_mode=mode)

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

    def list_states(self) -> list[ProjectionState]:
        """Every projection the file remembers; none if there is no file."""
        return self._look(self.path, list_states) or []

    def find_state(self, name: str) -> ProjectionState | None:
        """The row of a projection, if there is one."""
        return self._look(self.path, lambda connection: find_state(connection, name))

    def find_failures(self, name: str) -> list[Failure]:
        """The failures of a projection, if any."""
        return self._look(self.path, lambda connection: find_failures(connection, name)) or []

    def find_dead_letters(self, name: str) -> list[DeadLetter]:
        """The dead letters of a projection, by position."""
        return self._look(self.path, lambda connection: find_dead_letters(connection, name)) or []

    def find_skips(self, name: str) -> list[Skip]:
        """The events a projection skips, by position."""
        return self._look(self.path, lambda connection: find_skips(connection, name)) or []

    def find_effects(self, name: str) -> list[Effect]:
        """The effects that are still to be called, by position."""
        return self._look(self.path, lambda connection: find_effects(connection, name)) or []

    def check(self, projection: Projection) -> None:
        """Compare version and migrations with those that made the rows."""

        def look(connection: sqlite3.Connection) -> None:
            state = find_state(connection, projection.name)
            if state is not None:
                check_version(state, projection)
                find_pending(connection, projection, load_migrations(projection), state)

        self._look(self.path, look)

    def list_decisions(self, name: str) -> list[Decision]:
        """The audit record of a projection; empty if there is none."""
        return self._look(self.path, lambda connection: list_decisions(connection, name)) or []

    def find_shadow(self, name: str) -> ProjectionState | None:
        """How far the file of an unfinished rebuild has come."""
        path = shadow_path(self.path, name, "rebuild")
        if not path.exists():
            return None
        connection = connect(path, mode="ro")
        try:
            with translated(path):
                known = find_schema_version(connection)
                return find_state(connection, name) if known == SCHEMA_VERSION else None
        finally:
            connection.close()

    def lock(self, name: str, activity: Activity) -> ProjectionLock:
        """A lock file in the folder beside the database."""
        return ProjectionLock(self._locks, name, activity, clock=self.clock, mode=self._mode)

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

    def _look(self, path: Path, look: Callable[[sqlite3.Connection], Found]) -> Found | None:
        """Ask the file something; None where nothing was written yet."""
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
        return self._look(path, look)

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


class SqliteLiveReadModel(SqliteReadModel):
    """The file that queries read; see `eskit.projections.port.LiveReadModel`."""

    def open_shadow(
        self, projection: Projection, purpose: Purpose, *, fingerprint: str, store_id: str
    ) -> SqliteShadowReadModel:
        """A second file with the same table names; the live one is attached read-only."""
        path = shadow_path(self.path, projection.name, purpose)
        if not can_go_on(path, fingerprint=fingerprint, store_id=store_id):
            self.discard_shadow(projection.name, purpose)
        return SqliteShadowReadModel(
            path,
            live=self.path,
            file_mode=mode_of(self.path),
            fingerprint=fingerprint,
            store_id=store_id,
            clock=self.clock,
        )

    def rehearsing(self) -> AbstractContextManager[None]:
        """One transaction around everything, rolled back at the end."""
        return self._transactions.rehearse()

    @contextmanager
    def emptied(self, projection: Projection) -> Iterator[None]:
        """Drop the projection's tables and begin anew, all of it in one transaction."""
        with self._transactions.whole():
            with self.transaction(), translated(self.path):
                drop_tables(self.connection, projection.name)
            yield

    @contextmanager
    def swapping(self, projection: Projection) -> Iterator[ProjectionState]:
        """Attach the rebuilt file and copy its tables inside one transaction."""
        path = shadow_path(self.path, projection.name, "rebuild")
        with translated(self.path):
            # Read-only: writable, it would have to be locked as well.
            self.connection.execute(f"ATTACH ? AS {SHADOW}", (file_uri(path, mode="ro"),))
        try:
            with self.transaction():
                with translated(self.path):
                    swap_tables(self.connection, projection.name)
                state = self.find_state(projection.name)
                if state is None:
                    raise ReadModelUnavailable(
                        f"{path} holds no rows of {projection.name!r}",
                        hint=f"Begin anew: eskit project rebuild {projection.name}",
                    )
                yield state
        finally:
            with translated(self.path):
                self.connection.execute(f"DETACH {SHADOW}")

    def discard_shadow(self, name: str, purpose: Purpose) -> None:
        """Delete the second file."""
        path = shadow_path(self.path, name, purpose)
        for suffix in ("", "-wal", "-shm", "-lock", ".writing"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
