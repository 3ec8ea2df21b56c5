"""Read models in memory: what the ports ask for and no more, at a fraction of the time of a file.

A transaction works on a copy and puts it in place at its end; so whoever has the contents before
keeps one moment of them. Processes of one world share a `Memory`, as they would share a folder.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from eskit.clock import Clock
from eskit.errors import ReadModelUnavailable
from eskit.processes.holding import LocalLock
from eskit.projections.differences import TableDifference
from eskit.projections.migrations import Migration
from eskit.projections.port import Activity, Purpose
from eskit.projections.records import Kind, Record

_SHORTEST_WAIT, _LONGEST_WAIT, _PATIENCE = 0.0002, 0.005, 30.0
_LIVE = ""
Total = tuple[int, int, int]
"""How many events of a stream were handled, what they come to, and their digest."""


@dataclass(slots=True)
class Table:
    """The rows of one projection: each event in the order in which it was handled, and totals."""

    handled: list[tuple[int, str]] = field(default_factory=list)
    totals: dict[str, Total] = field(default_factory=dict)

    def copy(self) -> Table:
        """The same rows in containers of their own."""
        return Table(list(self.handled), dict(self.totals))


@dataclass(slots=True)
class Contents:
    """What one file would have, at one moment."""

    records: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    """By kind and projection, then by key; the inner ones are never changed."""
    tables: dict[str, Table] = field(default_factory=dict)

    def copy(self) -> Contents:
        """The same in containers of their own."""
        tables = {name: table.copy() for name, table in self.tables.items()}
        return Contents(dict(self.records), tables)

    def find(self, kind: Kind, name: str | None, key: str | None) -> list[Record]:
        """The records of a kind, by projection and then key."""
        if name is None:
            names = sorted(of for found, of in self.records if found == kind)
            return [record for name in names for record in self.find(kind, name, key)]
        found = self.records.get((kind, name))
        if not found:
            return []
        return [
            Record(kind, name, at, value)
            for at, value in (sorted(found.items()) if len(found) > 1 else found.items())
            if key is None or at == key
        ]

    def put(self, kind: Kind, name: str, key: str, value: str | None) -> None:
        """Keep a record in the place of that with its key; None for none."""
        found = dict(self.records.get((kind, name), ()))
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value
        self.records[kind, name] = found


class Memory:
    """What is there, whoever has it open: live rows, those built aside by name, and locks."""

    def __init__(self) -> None:
        self.contents: dict[str, Contents] = {}
        self.commits = 0
        self.written: set[str] = set()
        self.locks: dict[str, tuple[LocalLock, str]] = {}

    # What an oracle looks at.

    def rows(self, name: str) -> list[tuple[int, str]]:
        """The events that a projection handled, in order, with their streams."""
        table = self._table(name)
        return list(table.handled) if table else []

    def totals(self, name: str) -> dict[str, Total]:
        """What it has added up, by stream."""
        table = self._table(name)
        return table.totals if table else {}

    def version(self) -> int:
        """Another one whenever anybody has committed."""
        return self.commits

    def close(self) -> None:
        """There is nothing to let go of."""

    def _table(self, name: str) -> Table | None:
        live = self.contents.get(_LIVE)
        return live.tables.get(name) if live else None


class MemoryRows:
    """What handlers are given."""

    def __init__(self, model: MemoryReadModel) -> None:
        self._model = model

    def find_total(self, name: str, stream: str) -> Total | None:
        """What was added up of a stream."""
        return self._tables[name].totals.get(stream)

    def add(self, name: str, position: int, stream: str) -> None:
        """Keep an event that was handled."""
        self._tables[name].handled.append((position, stream))

    def put_total(self, name: str, stream: str, total: Total) -> None:
        """Keep what was added up, as a row that comes after all others."""
        totals = self._tables[name].totals
        totals.pop(stream, None)
        totals[stream] = total

    def break_constraint(self, name: str) -> None:
        """Raise what SQLite raises for a row that may not be so."""
        raise sqlite3.IntegrityError(f"NOT NULL constraint failed: {name}_handled.position")

    @property
    def _tables(self) -> dict[str, Table]:
        return self._model.now.tables


class MemoryReadModel:
    """See `eskit.projections.port.LiveReadModel` and `ShadowReadModel`."""

    def __init__(
        self,
        memory: Memory,
        clock: Clock,
        at: str = _LIVE,
        *,
        stop: threading.Event | None = None,
    ) -> None:
        self._memory = memory
        self._clock = clock
        self._stop = stop or threading.Event()
        self._at = at
        self._own: Contents | None = None
        self.db = MemoryRows(self)
        if at not in memory.contents:
            memory.contents[at] = Contents()
            clock.monotonic()  # as a file takes a transaction to be made

    @property
    def now(self) -> Contents:
        """As the open transaction has it or, outside of one, as it was committed last."""
        return self._own or self._memory.contents[self._at]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A copy that takes the place of the contents at the end; inside another a copy of that."""
        before = self._own
        if before is None:
            self._wait_for_turn()
        self._own = self.now.copy()
        try:
            yield
            if before is None:
                self._memory.contents[self._at], self._own = self._own, None
                self._memory.commits += self._at == _LIVE
        except BaseException:
            self._own = before
            raise
        finally:
            if before is None:
                self._memory.written.discard(self._at)

    def _wait_for_turn(self) -> None:
        """Begin to write when nobody else does, as at the lock of a file."""
        began, end = self._clock.monotonic(), 0.0
        while self._at in self._memory.written:
            now = self._clock.monotonic()
            end = end or now + _PATIENCE
            if now >= end or self._stop.is_set():
                waited = self._clock.monotonic() - began
                raise ReadModelUnavailable(f"Another process has written for {waited:.1f} s")
            self._clock.sleep(random.uniform(_SHORTEST_WAIT, _LONGEST_WAIT))
        self._memory.written.add(self._at)

    def flush(self) -> None:
        """Nothing is put off."""

    def is_transient(self, error: BaseException) -> bool:
        """Nothing is wrong with memory."""
        del error
        return False

    def records(self, kind: Kind, name: str | None = None, key: str | None = None) -> list[Record]:
        """Those of this moment."""
        return self.now.find(kind, name, key)

    def save(self, record: Record) -> None:
        """Put one in the place of that with its key."""
        self.now.put(record.kind, record.projection, record.key, record.value)

    def delete(self, kind: Kind, name: str, key: str) -> None:
        """Leave one out."""
        self.now.put(kind, name, key, None)

    def migrate(self, name: str, migrations: Sequence[Migration]) -> None:
        """Make the two tables of a projection, whatever the statements are."""
        if migrations:
            self.now.tables[name] = Table()

    def drop(self, name: str) -> None:
        """Leave the tables out."""
        self.now.tables.pop(name, None)

    def rename(self, old: str, new: str) -> None:
        """No schedule renames a projection."""
        raise NotImplementedError

    def close(self) -> None:
        """There is nothing to let go of."""

    # Of live rows

    def open_shadow(self, name: str, purpose: Purpose) -> MemoryReadModel:
        """Contents beside, those of an unfinished build or none."""
        return MemoryReadModel(self._memory, self._clock, f"{purpose} {name}")

    def discard_shadow(self, name: str, purpose: Purpose) -> None:
        """Leave them out."""
        self._memory.contents.pop(f"{purpose} {name}", None)

    @contextmanager
    def swapping(self, name: str) -> Iterator[None]:
        """Take the table that was built beside."""
        built = self._memory.contents[f"rebuild {name}"]
        with self.transaction():
            self.now.tables[name] = built.tables[name].copy()
            yield

    # Of rows that are built aside

    @property
    def live(self) -> MemoryReadModel:
        """The live rows, which nobody else changes meanwhile."""
        return MemoryReadModel(self._memory, self._clock)

    def compare(self, name: str, *, examples: int, in_order: bool) -> list[TableDifference]:
        """Row by row, and in which order they were written."""
        del examples
        live, rebuilt = self.live.now.tables.get(name, Table()), self.now.tables[name]
        same = (live.handled, live.totals) == (rebuilt.handled, rebuilt.totals)
        if same and in_order:
            same = list(live.totals) == list(rebuilt.totals)
        return [
            TableDifference(
                table=f"{name}_handled",
                live_rows=len(live.handled),
                rebuilt_rows=len(rebuilt.handled),
                differing=int(not same),
            )
        ]


class MemoryReadModels:
    """See `eskit.projections.port.ReadModels`."""

    def __init__(self, memory: Memory, clock: Clock) -> None:
        self.memory = memory
        self._clock = clock

    def open(self, *, stop: threading.Event | None = None) -> MemoryReadModel:
        """The live rows."""
        return MemoryReadModel(self.memory, self._clock, stop=stop)

    @contextmanager
    def reader(self) -> Iterator[Contents]:
        """One moment of them."""
        found = self.memory.contents.get(_LIVE)
        if found is None:
            raise ReadModelUnavailable("There is no read model yet")
        yield found

    def records(
        self, kind: Kind, name: str | None = None, key: str | None = None, *, shadow: bool = False
    ) -> list[Record]:
        """Those that were committed."""
        found = self.memory.contents.get(f"rebuild {name}" if shadow else _LIVE)
        return found.find(kind, name, key) if found else []

    def lock(self, name: str, activity: Activity) -> LocalLock:
        """One for all processes of this world."""
        return LocalLock(self.memory.locks, f"{name} {activity}", clock=self._clock)

    def close(self) -> None:
        """There is nothing to let go of."""
