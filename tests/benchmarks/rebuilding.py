"""Rebuilding a read model beside a hand-written loop that reads, parses and upserts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, EventContext, EventStore, NewEvent, Projection, open_store
from eskit.projections.engine import ProjectionEngine
from tests.benchmarks.comparison import Comparison, Target, Timed, compare

EVENTS = 200_000
ACCOUNTS = 5_000

_TABLE = "CREATE TABLE balance (account TEXT PRIMARY KEY, total INTEGER NOT NULL)"
_UPSERT = (
    "INSERT INTO balance (account, total) VALUES (?, 1) "
    "ON CONFLICT (account) DO UPDATE SET total = total + 1"
)


def fill(store: EventStore, raw: sqlite3.Connection, accounts: int) -> None:
    """The same events in a store and in a plain table."""
    raw.execute("CREATE TABLE events (position INTEGER PRIMARY KEY, type TEXT, data BLOB)")
    for start in range(0, EVENTS, 1_000):
        account = f"Account-{start // 1_000}"
        numbers = range(start, start + 1_000)
        messages = [StringValue(value=f"{number % accounts}") for number in numbers]
        store.append(account, [NewEvent(message) for message in messages], expected_version=ANY)
        raw.executemany(
            "INSERT INTO events (type, data) VALUES ('google.protobuf.StringValue', ?)",
            [(message.SerializeToString(),) for message in messages],
        )
    raw.commit()


def hand_written(log: Path, model: Path) -> Timed:
    """Read, parse, upsert: one transaction, one new file."""

    def run() -> float:
        model.unlink(missing_ok=True)
        start = time.perf_counter()
        source, target = sqlite3.connect(log), sqlite3.connect(model)
        target.execute(_TABLE)
        for _, _, data in source.execute("SELECT position, type, data FROM events ORDER BY 1"):
            target.execute(_UPSERT, (StringValue.FromString(data).value,))
        target.commit()
        elapsed = time.perf_counter() - start
        source.close()
        target.close()
        return elapsed

    return run


def projection(migrations: Path) -> Projection:
    """The same read model as a projection."""
    migrations.mkdir()
    (migrations / "0001_balance.sql").write_text(f"{_TABLE};\n", encoding="utf-8")
    balances = Projection("balances", migrations=migrations)

    @balances.on(StringValue)
    def counted(event: StringValue, context: EventContext) -> None:
        context.db.execute(_UPSERT, (event.value,))

    return balances


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """A rebuild with one upsert for each event, into few rows and into as many as events."""
    for accounts, bound in ((ACCOUNTS, 0.7), (EVENTS, 0.6)):
        inner = folder / f"{accounts}"
        inner.mkdir()
        yield measure(inner, rounds, accounts, bound)


def measure(folder: Path, rounds: int, accounts: int, bound: float) -> Comparison:
    """One rebuild beside the hand-written loop."""
    raw = sqlite3.connect(folder / "raw.db")
    with open_store(f"sqlite:///{folder / 'store.db'}?synchronous=normal") as store:
        fill(store, raw, accounts)
        raw.close()
        engine = ProjectionEngine(
            store, [projection(folder / "migrations")], f"sqlite:///{folder / 'read.db'}"
        )

        def rebuild() -> float:
            start = time.perf_counter()
            engine.rebuild("balances")
            return time.perf_counter() - start

        try:
            return compare(
                f"rebuild {EVENTS:,} events into {accounts:,} rows",
                rebuild,
                floor_name="sqlite3: read, parse, upsert, one transaction",
                floor=hand_written(folder / "raw.db", folder / "model.db"),
                target=Target(kind="speed", bound=bound),
                rounds=max(3, rounds // 3),
                count=EVENTS,
            )
        finally:
            engine.close()
