"""Rebuilding a read model beside a hand-written loop that reads, parses and upserts.

`run_on_postgres` does so where events and rows are in PostgreSQL.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, EventContext, EventStore, NewEvent, Projection, open_store
from eskit.projections.engine import ProjectionEngine
from tests.benchmarks.comparison import Comparison, Target, Timed, compare, timed

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


def projection(migrations: Path, *, upsert: str = _UPSERT) -> Projection[Any]:
    """The same read model as a projection."""
    migrations.mkdir()
    (migrations / "0001_balance.sql").write_text(f"{_TABLE};\n", encoding="utf-8")
    balances = Projection[Any]("balances", migrations=migrations)

    @balances.on(StringValue)
    def counted(event: StringValue, context: EventContext[Any]) -> None:
        context.db.execute(upsert, (event.value,))

    return balances


def run_on_postgres(url: str, folder: Path, rounds: int) -> Comparison:
    """A rebuild with one upsert for each event; the loop reads with a server-side cursor."""
    upsert = _UPSERT.replace("?", "%s").replace("total = total", "total = balance.total")
    with (
        open_store(f"{url}?schema=rebuilding") as store,
        psycopg.connect(url, autocommit=True) as raw,
    ):
        fill_postgres(store, raw)
        engine = ProjectionEngine(
            store,
            [projection(folder / "migrations-postgres", upsert=upsert)],
            f"{url}?schema=rebuilding_read",
        )

        def loop() -> None:
            with psycopg.connect(url) as target, raw.transaction():
                target.execute("DROP TABLE IF EXISTS balance")
                target.execute(_TABLE)
                events = raw.cursor(name="events", binary=True)
                events.itersize = 2_000
                events.execute("SELECT position, type, data FROM raw_events ORDER BY 1")
                for _, _, data in events:
                    target.execute(upsert, (StringValue.FromString(data).value,))

        try:
            return compare(
                f"PostgreSQL: rebuild {EVENTS:,} events into {ACCOUNTS:,} rows",
                timed(lambda: engine.rebuild("balances")),
                floor_name="psycopg: read by cursor, parse, execute each, one transaction",
                floor=timed(loop),
                target=Target(kind="speed", bound=2.5),
                rounds=max(3, rounds // 3),
                count=EVENTS,
            )
        finally:
            engine.close()


def fill_postgres(store: EventStore, raw: psycopg.Connection) -> None:
    """The same events in a store and in a plain table."""
    raw.execute("CREATE TABLE raw_events (position bigserial PRIMARY KEY, type text, data bytea)")
    for start in range(0, EVENTS, 1_000):
        messages = [StringValue(value=f"{n % ACCOUNTS}") for n in range(start, start + 1_000)]
        events = [NewEvent(message) for message in messages]
        store.append(f"Account-{start // 1_000}", events, expected_version=ANY)
        with raw.cursor().copy("COPY raw_events (type, data) FROM STDIN") as copy:
            for message in messages:
                copy.write_row(("google.protobuf.StringValue", message.SerializeToString()))


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
