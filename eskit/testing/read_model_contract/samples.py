"""Projections, positions and what is kept of events, for the contract of read models."""

# ruff: noqa: S608 - statements are made of the names of samples only

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from eskit.projections.bookkeeping import adopt, advance, find_migrations, load_state
from eskit.projections.port import LiveReadModel, ReadModel
from eskit.projections.preparing import prepare
from eskit.projections.projection import Projection
from eskit.projections.rebuild import open_shadow
from eskit.projections.records import (
    AppliedMigration,
    Decision,
    Effect,
    EventPosition,
    Failure,
    Phase,
    ProjectionDeadLetter,
    ProjectionState,
    Skip,
)

STORE = "0f5a5c1e-8a77-4d1e-9d53-6f1c2d1e5f0a"
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)

Built: TypeAlias = tuple[ProjectionState, Sequence[AppliedMigration]]


class Tables:
    """Tables of a text column `name`, which is unique, and an integer column `amount`.

    This is how SQL has them. A read model with another language has a subclass of its own.
    """

    broken = "INSERT INTO nowhere VALUES (1);"
    """A migration that does not run."""

    def create(self, table: str) -> str:
        """A migration that makes a table."""
        return f"CREATE TABLE {table} (name TEXT PRIMARY KEY, amount INTEGER NOT NULL);\n"

    def set_amounts(self, table: str, amount: int) -> str:
        """A migration that changes all rows."""
        return f"UPDATE {table} SET amount = {amount};"

    def add_column(self, table: str, column: str) -> str:
        """A migration that gives a table one more column."""
        return f"ALTER TABLE {table} ADD COLUMN {column} TEXT;"

    def insert(self, db: Any, table: str, name: str, amount: int) -> None:
        """Write a row as a handler does."""
        db.execute(f"INSERT INTO {table} (name, amount) VALUES ('{name}', {amount})")

    def rows(self, db: Any, table: str) -> list[tuple[str, int]]:
        """The name and amount of all rows, by amount."""
        found = db.execute(f"SELECT name, amount FROM {table} ORDER BY amount")
        return [(name, amount) for name, amount in found]

    def columns(self, db: Any, table: str) -> list[str]:
        """The names of the columns."""
        return [column[0] for column in db.execute(f"SELECT * FROM {table}").description]

    def commit(self, db: Any) -> None:
        """End the transaction, as a handler must not: raises whatever the database does."""
        db.execute("COMMIT")


class Samples:
    """Makes projections with a table of their name, and does what is done with their rows."""

    def __init__(self, folder: Path, tables: Tables) -> None:
        self.tables = tables
        self._folder = folder

    def make(self, name: str = "counts", *, version: int = 1, then: str = "") -> Projection[Any]:
        """A projection; `then` is a second migration."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        (folder / "1_table.sql").write_text(self.tables.create(name), encoding="utf-8")
        if then:
            (folder / "2_then.sql").write_text(then, encoding="utf-8")
        return Projection(name, migrations=folder, version=version)

    def edit(self, name: str = "counts") -> None:
        """Change the first migration, as nobody should once it was applied."""
        file = self._folder / name / "1_table.sql"
        file.write_text(f"{self.tables.create(name)}-- edited\n", encoding="utf-8")

    def put(self, model: ReadModel[Any], position: int, *, table: str = "counts") -> None:
        """Write a row as the handler of an event does."""
        self.tables.insert(model.db, table, f"row {position}", position)

    def handle(
        self,
        model: ReadModel[Any],
        projection: Projection[Any],
        position: int,
        *,
        before: EventPosition,
    ) -> EventPosition:
        """What handling one event does: a row and the checkpoint, in one transaction."""
        after = event_at(position)
        with model.transaction():
            self.put(model, position, table=projection.name)
            advance(model, projection.name, before=before, after=after, now=NOON)
        return after

    def prepared(
        self, model: ReadModel[Any], projection: Projection[Any], *positions: int
    ) -> EventPosition:
        """Make the tables of a projection and handle events in them."""
        at = prepare(model, projection, store_id=STORE, now=NOON).checkpoint
        for position in positions:
            at = self.handle(model, projection, position, before=at)
        return at

    def build(
        self,
        live: LiveReadModel[Any],
        projection: Projection[Any],
        *positions: int,
        code: str = "x",
    ) -> Built:
        """Open the shadow rows of a rebuild, handle events in them, and let go of them."""
        shadow = open_shadow(live, projection.name, "rebuild", skips=[], begun=code)
        try:
            self.prepared(shadow, projection, *positions)
            built = load_state(shadow, projection.name)
            return built, find_migrations(shadow, projection.name)
        finally:
            shadow.close()

    def rows(self, db: Any, table: str = "counts") -> list[tuple[str, int]]:
        """The rows of a table, sorted."""
        return self.tables.rows(db, table)


def adopt_built(live: LiveReadModel[Any], built: Built) -> None:
    """What a rebuild does with the records once the rows are swapped in."""
    state, migrations = built
    adopt(live, state, migrations)


def event_at(position: int) -> EventPosition:
    """The place of an event whose id follows from its position."""
    return EventPosition(position, f"event-{position}")


def failure(position: int, phase: Phase = "run") -> Failure:
    """What is kept of a handler that raised."""
    return Failure(
        projection="counts",
        phase=phase,
        position=position,
        event_id=f"event-{position}",
        event_type="ledger.v1.Counted",
        stream="Account-1",
        error="KeyError: 'eur'",
        traceback="Traceback …",
        failed_at=NOON,
    )


def letter(position: int, *, error: str = "KeyError: 'eur'") -> ProjectionDeadLetter:
    """A dead letter."""
    return ProjectionDeadLetter(
        projection="counts",
        state="failed",
        position=position,
        event_id=f"event-{position}",
        event_type="ledger.v1.Counted",
        stream="Account-1",
        tenant="acme",
        holds_stream=True,
        attempts=3,
        error=error,
        traceback="Traceback …",
        since=NOON,
    )


def skip(position: int) -> Skip:
    """A decision never to handle an event."""
    return Skip(
        projection="counts",
        position=position,
        event_id=f"event-{position}",
        event_type="ledger.v1.Counted",
        stream="Account-1",
        reason="booked twice",
        decided_by="ann",
        decided_at=NOON,
    )


def effect(position: int, *, attempts: int = 0, error: str = "") -> Effect:
    """A call that is still to be made."""
    return Effect(
        projection="counts",
        event_id=f"event-{position}",
        name="mail",
        position=position,
        function="bank.mails:send",
        arguments='{"args": [], "kwargs": {}}',
        attempts=attempts,
        error=error,
    )


def decision(action: str) -> Decision:
    """An entry of the audit record."""
    return Decision(
        projection="counts",
        action=action,
        detail="at 3",
        reason="rates are wrong",
        decided_by="ann",
        decided_at=NOON,
    )
