"""The read model of one or more projections in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from eskit.domain.time import from_microseconds, to_microseconds
from eskit.errors import ReadModelUnavailable
from eskit.files.modes import PRIVATE
from eskit.projections.checkpoints import check_version
from eskit.projections.database import Database
from eskit.projections.projection import Projection
from eskit.projections.records import (
    START,
    Decision,
    EventPosition,
    Failure,
    Phase,
    ProjectionState,
)
from eskit.projections.sqlite.connection import (
    Transactions,
    WriteLock,
    connect,
    is_outage,
    translated,
)
from eskit.projections.sqlite.migrations import (
    Migration,
    apply_migrations,
    find_pending,
    load_migrations,
)
from eskit.projections.sqlite.records import RecordRows
from eskit.projections.sqlite.sql import query
from eskit.projections.sqlite.swap import drop_tables
from eskit.sqlite.leftovers import forget_files

SCHEMA_VERSION = 3
_WITHOUT_PLACES = 2


class SqliteReadModel(RecordRows):
    """See `eskit.projections.port.ReadModel`; opened for writing, one thread at a time."""

    def __init__(self, path: Path, *, lock: WriteLock, file_mode: int = PRIVATE) -> None:
        self.path = path
        self.clock = lock.clock
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

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection behind `db`, for the parts of this adapter."""
        return self._connection

    def prepare(self, projection: Projection, *, store_id: str) -> ProjectionState:
        """Apply pending migrations and remember the projection."""
        migrations = load_migrations(projection)
        state = self.find_state(projection.name)
        if state is not None:
            check_version(state, projection)
            with translated(self.path):
                pending = find_pending(self._connection, projection, migrations, state)
            if not pending and state.version == projection.version:
                return state
        with self.transaction(), translated(self.path):
            return self._prepare(projection, migrations, store_id=store_id)

    def transaction(self) -> AbstractContextManager[None]:
        """The only write transaction on the file, of all processes."""
        return self._transactions.write()

    def is_outage(self, error: BaseException) -> bool:
        """Whether SQLite reports a condition of disk, file or memory."""
        return is_outage(error)

    def find_state(self, name: str) -> ProjectionState | None:
        """The row of eskit_projections, if there is one."""
        with translated(self.path):
            return find_state(self._connection, name)

    def advance(self, name: str, *, seen: EventPosition, passed: EventPosition) -> None:
        """Move the checkpoint; ReadModelUnavailable if it is not where it was seen."""
        with translated(self.path):
            moved = self._connection.execute(
                query("advance"),
                (
                    passed.position,
                    passed.event_id,
                    passed.place,
                    self.clock.microseconds(),
                    name,
                    seen.position,
                    seen.event_id,
                ),
            ).rowcount
        if moved != 1:
            raise ReadModelUnavailable(
                f"The checkpoint of {name!r} in {self.path} was changed from within a handler",
                hint="Tables that begin with eskit_ belong to eskit.",
            )

    def find_failures(self, name: str) -> list[Failure]:
        """The failures of a projection: that of its run first."""
        with translated(self.path):
            return find_failures(self._connection, name)

    def save_failure(self, failure: Failure) -> None:
        """Remember a failure."""
        with translated(self.path):
            self._connection.execute(
                query("save_failure"),
                (
                    failure.projection,
                    failure.phase,
                    failure.position,
                    failure.event_id,
                    failure.event_type,
                    failure.stream,
                    failure.error,
                    failure.traceback,
                    to_microseconds(failure.failed_at),
                ),
            )

    def clear_failure(self, name: str, phase: Phase) -> None:
        """Forget a failure."""
        with translated(self.path):
            self._connection.execute(query("clear_failure"), (name, phase))

    def pause(self, name: str, *, reason: str) -> None:
        """Remember a pause."""
        with translated(self.path):
            self._connection.execute(query("save_pause"), (name, reason))

    def resume(self, name: str) -> None:
        """Forget a pause."""
        with translated(self.path):
            self._connection.execute(query("delete_pause"), (name,))

    def move_checkpoint(self, name: str, *, store_id: str, checkpoint: EventPosition) -> None:
        """Set position, event and store, and clear the failure of the run."""
        row = (
            store_id,
            checkpoint.position,
            checkpoint.event_id,
            checkpoint.place,
            self.clock.microseconds(),
            name,
        )
        with translated(self.path):
            self._connection.execute(query("move_checkpoint"), row)
            # What is handled again is no longer set aside.
            self._connection.execute(
                query("delete_dead_letters_after"), (name, checkpoint.position)
            )
        self.clear_failure(name, "run")
        self.clear_failure(name, "retry")

    def rename(self, old: str, new: str) -> None:
        """Let every row of eskit's tables name another projection."""
        with translated(self.path):
            for statement in query("rename_projection").split(";\n"):
                self._connection.execute(statement, {"old": old, "new": new})

    def drop(self, name: str) -> None:
        """Drop the tables, and the rows of eskit's, but not the audit record."""
        with translated(self.path):
            drop_tables(self._connection, name)
            for statement in query("forget_projection").split(";\n"):
                self._connection.execute(statement, {"projection": name})

    def save_decision(self, decision: Decision) -> None:
        """Add a row to eskit_decisions."""
        row = (
            decision.projection,
            decision.action,
            decision.detail,
            decision.reason,
            decision.decided_by,
            to_microseconds(decision.decided_at),
        )
        with translated(self.path):
            self._connection.execute(query("save_decision"), row)

    def close(self) -> None:
        """Close the connection and let go of the lock file."""
        self._connection.close()
        forget_files(Path(os.path.realpath(self.path)))
        self._lock.close()

    def _prepare(
        self, projection: Projection, migrations: Sequence[Migration], *, store_id: str
    ) -> ProjectionState:
        state = self.find_state(projection.name)
        if state is not None:
            check_version(state, projection)
        pending = find_pending(self._connection, projection, migrations, state)
        apply_migrations(self._connection, projection, pending, now=self.clock.microseconds())
        if state is not None and state.checkpoint != START:
            return state
        now = self.clock.microseconds()
        row = (
            projection.name,
            projection.version,
            store_id,
            START.position,
            START.event_id,
            "",
            now,
        )
        self._connection.execute(query("save_state"), row)
        return to_state((*row, state.pause if state else None, False))

    def _create_bookkeeping(self) -> None:
        with translated(self.path):
            found = find_schema_version(self._connection)
            if found is None or found < SCHEMA_VERSION:
                with self.transaction():
                    self._upgrade(find_schema_version(self._connection))
            else:
                check_schema_version(self.path, found)

    def _upgrade(self, version: int | None) -> None:
        """Make eskit's own tables, or add what they lack since an older version."""
        for statement in query("create_bookkeeping").split(";\n"):
            self._connection.execute(statement)
        if version is not None and version <= _WITHOUT_PLACES:
            self._connection.execute(query("add_places"))
        self._connection.execute(
            "INSERT OR REPLACE INTO eskit_read_model (key, value) VALUES (?, ?)",
            ("schema_version", str(SCHEMA_VERSION)),
        )


def find_schema_version(connection: sqlite3.Connection) -> int | None:
    """The version of eskit's own tables; None where there are none yet."""
    try:
        found = connection.execute(
            "SELECT value FROM main.eskit_read_model WHERE key = 'schema_version'"
        ).fetchone()
    except sqlite3.OperationalError:
        known = connection.execute(
            "SELECT 1 FROM main.sqlite_master WHERE name = 'eskit_read_model'"
        ).fetchone()
        if known:
            raise
        return None
    return int(found[0])


def check_schema_version(path: Path, version: int) -> None:
    """Refuse a file whose bookkeeping a newer eskit has written."""
    if version > SCHEMA_VERSION:
        raise ReadModelUnavailable(
            f"Read model {path} was written by a newer eskit (version {version} of its tables)",
            hint="Upgrade eskit, or choose another file in read_models.",
        )


def find_state(connection: sqlite3.Connection, name: str) -> ProjectionState | None:
    """What the file remembers of a projection."""
    row = connection.execute(query("find_state"), (name,)).fetchone()
    return None if row is None else to_state(row)


def list_states(connection: sqlite3.Connection) -> list[ProjectionState]:
    """Every projection the file remembers, by name."""
    return [to_state(row) for row in connection.execute(query("list_states"))]


def find_failures(connection: sqlite3.Connection, name: str) -> list[Failure]:
    """The failures of a projection: that of its run before that of its rebuild."""
    return [
        Failure(
            projection=row[0],
            phase=row[1],
            position=row[2],
            event_id=row[3],
            event_type=row[4],
            stream=row[5],
            error=row[6],
            traceback=row[7],
            failed_at=from_microseconds(row[8]),
        )
        for row in connection.execute(query("find_failures"), (name,))
    ]


def to_state(row: tuple[Any, ...]) -> ProjectionState:
    """A row of eskit_projections as an object."""
    name, version, store_id, position, event_id, place, updated_at, pause, has_exceptions = row
    return ProjectionState(
        name=name,
        version=version,
        store_id=store_id,
        checkpoint=EventPosition(position, event_id, place),
        updated_at=from_microseconds(updated_at),
        pause=pause,
        has_exceptions=bool(has_exceptions),
    )


def list_decisions(connection: sqlite3.Connection, name: str) -> list[Decision]:
    """The audit record of a projection, oldest first."""
    return [
        Decision(
            projection=row[0],
            action=row[1],
            detail=row[2],
            reason=row[3],
            decided_by=row[4],
            decided_at=from_microseconds(row[5]),
        )
        for row in connection.execute(query("list_decisions"), (name,))
    ]
