"""Given these events, a projection makes these rows: tests of read models.

    projecting(balances, opened, deposited).expect(
        "SELECT account_id, balance FROM account_balance", ("acc-001", "150.00")
    )

The events take the path they take in the application: stored, read, upcast, handled, committed.
They do so in batches of 1, 7 and 1,000 and in a rebuild, and the rows have to be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.message import Message

from eskit.domain.events import NewEvent
from eskit.domain.streams import ANY
from eskit.domain.upcasting import Upcaster, Upcasters
from eskit.projections.database import Database
from eskit.projections.engine import ProjectionEngine
from eskit.projections.following import BatchLimits
from eskit.projections.projection import Projection
from eskit.store.open import open_store

Given: TypeAlias = Message | NewEvent | tuple[str, Message | NewEvent]
"""An event, or the name of its stream and an event."""

BATCH_SIZES = (1, 7, 1_000)
"""The numbers of events per transaction that must make no difference."""

_STREAM = "Given-1"


def projecting(
    projection: Projection, *events: Given, upcasters: Sequence[Upcaster] = ()
) -> Projected:
    """Let a projection handle `events`, each in a stream of its own choice or all in one.

    Raises AssertionError when the rows depend on how the events are split into transactions, and
    ProjectionFailed when a handler raises.
    """
    known = Upcasters(upcasters)
    tables = _project(projection, events, known, BATCH_SIZES[0])
    for size in BATCH_SIZES[1:]:
        _compare(tables, _project(projection, events, known, size), f"batches of {size:,}")
    _compare(tables, _project(projection, events, known, None), "a rebuild")
    return Projected(projection, events, known)


@dataclass(frozen=True, slots=True)
class Projected:
    """A projection after its events; made by `projecting`."""

    projection: Projection
    events: tuple[Given, ...]
    upcasters: Upcasters

    def expect(self, sql: str, *rows: tuple[Any, ...]) -> None:
        """Raise AssertionError unless the query gives exactly these rows, in this order."""
        found = self.rows(sql)
        if found != list(rows):
            raise AssertionError(f"{sql}\n  expected {_listed(rows)}\n  found    {_listed(found)}")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query on the read model gives."""
        with _projected(self.projection, self.events, self.upcasters, BATCH_SIZES[-1]) as db:
            return db.execute(sql, parameters).fetchall()


def _project(
    projection: Projection, events: Sequence[Given], upcasters: Upcasters, size: int | None
) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables of the projection, sorted."""
    with _projected(projection, events, upcasters, size) as db:
        tables = db.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow' "
            "AND type <> 'view' AND name NOT LIKE 'eskit%' AND name NOT LIKE 'sqlite%'"
        ).fetchall()
        return {name: _all_rows(db, name) for (name,) in tables}


def _all_rows(db: Database, table: str) -> list[tuple[Any, ...]]:
    quoted = table.replace('"', '""')
    found = db.execute(f'SELECT * FROM "{quoted}"').fetchall()  # noqa: S608 - a table's name
    return sorted(found, key=repr)


@contextmanager
def _projected(
    projection: Projection, events: Sequence[Given], upcasters: Upcasters, size: int | None
) -> Iterator[Database]:
    """The read model after the events, in batches of a size or, without one, by a rebuild."""
    with open_store("memory://") as store:
        for given in events:
            stream, event = given if isinstance(given, tuple) else (_STREAM, given)
            new = event if isinstance(event, NewEvent) else NewEvent(event)
            store.append(stream, [new], expected_version=ANY)
        engine = ProjectionEngine(store, [projection], "memory://", upcasters=upcasters)
        try:
            if size is None:
                engine.rebuild(projection.name)
            else:
                engine.run(limits=BatchLimits(events=size))
            with engine.reader() as db:
                yield db
        finally:
            engine.close()


def _compare(
    expected: dict[str, list[tuple[Any, ...]]], found: dict[str, list[tuple[Any, ...]]], how: str
) -> None:
    for table in sorted({*expected, *found}):
        one, other = expected.get(table, []), found.get(table, [])
        if one != other:
            raise AssertionError(
                f"The rows of {table} depend on how events are handled.\n"
                f"  one by one: {_listed(one)}\n  {how}: {_listed(other)}"
            )


def _listed(rows: Sequence[tuple[Any, ...]]) -> str:
    return ", ".join(map(repr, rows)) or "no rows"
