"""Given these events, a projection makes these rows: tests of read models.

    projecting(balances, opened, deposited).expect(
        "SELECT account_id, balance FROM account_balance", ("acc-001", "150.00")
    )

The events take the path they take in the application: stored, read, upcast, handled, committed.
They do so in batches of 1, 7 and 1,000 and in a rebuild, and the rows have to be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.message import Message

from eskit.domain.events import NewEvent
from eskit.domain.streams import ANY
from eskit.domain.upcasting import Upcaster, Upcasters
from eskit.projections.bookkeeping import forget
from eskit.projections.database import Database
from eskit.projections.engine import ProjectionEngine
from eskit.projections.following import BatchLimits
from eskit.projections.opening import open_read_models
from eskit.projections.projection import Projection
from eskit.store.open import open_store

Given: TypeAlias = Message | NewEvent | tuple[str, Message | NewEvent]
"""An event, or the name of its stream and an event."""

BATCH_SIZES = (1, 7, 1_000)
"""The numbers of events per transaction that must make no difference."""

_STREAM = "Given-1"
_TABLES = (
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type <> 'shadow' "
    "AND type <> 'view' AND name NOT LIKE 'eskit%' AND name NOT LIKE 'sqlite%'"
)
_POSTGRES_TABLES = "SELECT name FROM eskit_objects WHERE kind = 'table'"


def projecting(
    projection: Projection[Any],
    *events: Given,
    upcasters: Sequence[Upcaster] = (),
    read_models: str = "memory://",
) -> Projected:
    """Let a projection handle `events`, each in a stream of its own choice or all in one.

    `read_models` is the URL of read models that are empty, and are emptied again each time.
    Raises AssertionError when the rows depend on how the events are split into transactions, and
    ProjectionFailed when a handler raises.
    """
    projected = Projected(projection, events, Upcasters(upcasters), read_models)
    tables = _project(projected, BATCH_SIZES[0])
    for size in BATCH_SIZES[1:]:
        _compare(tables, _project(projected, size), f"batches of {size:,}")
    _compare(tables, _project(projected, None), "a rebuild")
    return projected


@dataclass(frozen=True, slots=True)
class Projected:
    """A projection after its events; made by `projecting`."""

    projection: Projection[Any]
    events: tuple[Given, ...]
    upcasters: Upcasters
    read_models: str = "memory://"

    def expect(self, sql: str, *rows: tuple[Any, ...]) -> None:
        """Raise AssertionError unless the query gives exactly these rows, in this order."""
        found = self.rows(sql)
        if found != list(rows):
            raise AssertionError(f"{sql}\n  expected {_listed(rows)}\n  found    {_listed(found)}")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query on the read model gives."""
        with _rows_of(self, BATCH_SIZES[-1]) as db:
            rows: list[tuple[Any, ...]] = db.execute(sql, parameters).fetchall()
            return rows


def _project(projected: Projected, size: int | None) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables of the projection, sorted."""
    with _rows_of(projected, size) as db:
        tables = db.execute(_TABLES if isinstance(db, Database) else _POSTGRES_TABLES).fetchall()
        return {name: _all_rows(db, name) for (name,) in tables}


def _all_rows(db: Any, table: str) -> list[tuple[Any, ...]]:
    quoted = table.replace('"', '""')
    found = db.execute(f'SELECT * FROM "{quoted}"').fetchall()  # noqa: S608 - a table's name
    return sorted(found, key=repr)


@contextmanager
def _rows_of(projected: Projected, size: int | None) -> Iterator[Any]:
    """The read model after the events, in batches of a size or, without one, by a rebuild."""
    projection = projected.projection
    with open_store("memory://") as store:
        for given in projected.events:
            stream, event = given if isinstance(given, tuple) else (_STREAM, given)
            new = event if isinstance(event, NewEvent) else NewEvent(event)
            store.append(stream, [new], expected_version=ANY)
        url, upcasters = projected.read_models, projected.upcasters
        engine = ProjectionEngine(store, [projection], url, upcasters=upcasters)
        try:
            if size is None:
                engine.rebuild(projection.name)
            else:
                engine.run(limits=BatchLimits(events=size))
            with engine.reader() as db:
                yield db
        finally:
            engine.close()
            _empty(url, projection.name)


def _empty(url: str, name: str) -> None:
    """Forget rows and records, so that the next time begins with none."""
    with closing(open_read_models(url)) as models, closing(models.open()) as model:  # noqa: SIM117
        with model.transaction():
            forget(model, name)


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
