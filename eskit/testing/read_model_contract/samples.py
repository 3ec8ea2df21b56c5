"""Projections, checkpoints and what is kept of events, for the contract of read models."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from eskit.projections.database import Database
from eskit.projections.port import LiveReadModel, ReadModel
from eskit.projections.projection import Projection
from eskit.projections.records import (
    DeadLetter,
    Decision,
    Effect,
    EventPosition,
    Failure,
    Phase,
    Skip,
)

STORE = "0f5a5c1e-8a77-4d1e-9d53-6f1c2d1e5f0a"
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)

_TABLE = "CREATE TABLE {} (name TEXT PRIMARY KEY, amount INTEGER NOT NULL);\n"


class Projections:
    """Makes projections with a table of their name and two columns, `name` and `amount`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, name: str = "counts", *, version: int = 1, then: str = "") -> Projection:
        """One of them; `then` is a second migration."""
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        (folder / "1_table.sql").write_text(_TABLE.format(name), encoding="utf-8")
        if then:
            (folder / "2_then.sql").write_text(then, encoding="utf-8")
        return Projection(name, migrations=folder, version=version)

    def edit(self, name: str = "counts") -> None:
        """Change the first migration, as nobody should once it was applied."""
        file = self._folder / name / "1_table.sql"
        file.write_text(f"{_TABLE.format(name)}-- edited\n", encoding="utf-8")


def event_at(position: int) -> EventPosition:
    """The place of an event whose id follows from its position."""
    return EventPosition(position, f"event-{position}")


def put(model: ReadModel, name: str, amount: int, *, table: str = "counts") -> None:
    """Write a row as a handler does."""
    model.db.execute(f"INSERT INTO {table} VALUES ('{name}', {amount})")  # noqa: S608


def handle(
    model: ReadModel, projection: Projection, position: int, *, seen: EventPosition
) -> EventPosition:
    """What handling one event does: a row and the checkpoint, in one transaction."""
    with model.transaction():
        put(model, f"row {position}", position, table=projection.name)
        model.advance(projection.name, seen=seen, passed=event_at(position))
    return event_at(position)


def prepared(model: LiveReadModel, projection: Projection, *positions: int) -> EventPosition:
    """Make the tables of a projection and handle events in them."""
    at = model.prepare(projection, store_id=STORE).checkpoint
    for position in positions:
        at = handle(model, projection, position, seen=at)
    return at


def rows(db: Database, table: str = "counts") -> list[tuple[str, int]]:
    """The rows of a table, sorted."""
    return [tuple(row) for row in db.execute(f"SELECT * FROM {table} ORDER BY amount")]  # noqa: S608


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


def letter(position: int, *, error: str = "KeyError: 'eur'") -> DeadLetter:
    """A dead letter."""
    return DeadLetter(
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
