"""The exchange that ends a rebuild in PostgreSQL, and how long readers wait for it."""

# ruff: noqa: S608 - schemas of this benchmark

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg

from eskit.projections.postgres.shadow import shadow_schema
from eskit.projections.postgres.swap import GATE, Swap
from eskit.projections.postgres.tables import list_objects, own
from tests.benchmarks.comparison import Comparison, Target, Timed, compare, timed

ROWS = 200_000
LONG_READ = 0.7
_LIVE = "exchanging"
_SHADOW = shadow_schema(_LIVE, "balances", "rebuild")
_TABLE = (
    "CREATE TABLE {0}.balances (account text PRIMARY KEY, total bigint NOT NULL);"
    "CREATE INDEX ON {0}.balances (total);"
    "INSERT INTO {0}.balances SELECT 'account ' || n, n FROM generate_series(1, {1}) n"
)


def run(url: str, rounds: int) -> Iterator[Comparison]:
    """An exchange from its last event on, and readers while it waits for a long one."""
    with (
        psycopg.connect(url, autocommit=True) as connection,
        psycopg.connect(url, autocommit=True) as other,
    ):
        connection.execute(
            f"CREATE SCHEMA {_LIVE}; CREATE SCHEMA {_SHADOW}; CREATE TABLE {_LIVE}.{GATE} ();"
            f"CREATE TABLE {_LIVE}.eskit_objects "
            "(projection text, kind text, name text, PRIMARY KEY (kind, name))"
        )
        connection.execute(_TABLE.format(_LIVE, ROWS))
        with connection.transaction():
            own(connection, _LIVE, "balances", list_objects(connection, _LIVE))
        yield compare(
            f"PostgreSQL: put {ROWS:,} new rows in the place of the old ones, with its commit",
            exchange(connection),
            floor_name="psycopg: begin, delete, commit",
            floor=timed(lambda: connection.execute(f"DELETE FROM {_LIVE}.{GATE}")),
            target=Target(kind="extra", bound=0.05),
            rounds=rounds,
        )
        yield compare(
            "PostgreSQL: the slowest of other readers while an exchange waits for a long one",
            slowest_reader(connection, other, url),
            floor_name="the same readers without an exchange",
            floor=timed(lambda: read(other)),
            target=Target(kind="extra", bound=0.15),
            rounds=max(3, rounds // 3),
        )


def exchange(connection: psycopg.Connection) -> Timed:
    """Build as many rows, untimed; then exchange them."""

    def run() -> float:
        work = build(connection)
        with connection.transaction():
            work.begin()  # and here the last events are handled
            start = time.perf_counter()
            work.finish()
        return time.perf_counter() - start

    return run


def slowest_reader(connection: psycopg.Connection, other: psycopg.Connection, url: str) -> Timed:
    """Readers come one after another, while the first reads on."""

    def run() -> float:
        work = build(connection)
        waits = []

        def exchange() -> None:
            with connection.transaction():
                work.begin()
                work.finish()

        with psycopg.connect(url) as long:
            long.execute(f"LOCK TABLE {_LIVE}.{GATE} IN ACCESS SHARE MODE")
            long.execute(f"SELECT count(*) FROM {_LIVE}.balances").fetchall()  # and reads on
            exchanging = threading.Thread(target=exchange)
            exchanging.start()
            until = time.perf_counter() + LONG_READ
            while time.perf_counter() < until:
                waits.append(timed(lambda: read(other))())
            long.rollback()
            while exchanging.is_alive():
                waits.append(timed(lambda: read(other))())
            exchanging.join()
        return max(waits)

    return run


def read(connection: psycopg.Connection) -> None:
    """What a query does."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute(f"LOCK TABLE {_LIVE}.{GATE} IN ACCESS SHARE MODE")
        connection.execute(f"SELECT * FROM {_LIVE}.balances WHERE account = 'account 7'").fetchall()


def build(connection: psycopg.Connection) -> Swap:
    """New rows beside the live ones, ready to be exchanged."""
    connection.execute(_TABLE.format(_SHADOW, ROWS))
    work = Swap(connection=connection, live=_LIVE, shadow=_SHADOW, projection="balances")
    work.analyze()
    return work
