"""The store in PostgreSQL beside loops over psycopg that do the same and nothing else.

One server serves both sides. Its flushes are those of the disk that the benchmarks run on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from uuid import uuid4

import psycopg
from google.protobuf.wrappers_pb2 import StringValue

from eskit import Command, EventStore, NewEvent, open_store
from eskit.postgres.server import PrivatePostgres
from tests.benchmarks.comparison import Comparison, Target, Timed, compare, timed

APPENDS = 500
THREADS = 64
EACH = 20
AT_ONCE = 1_000
LOG = 50_000
PAYLOAD = "a deposit of fifty euros, as a payload of usual size"
_STREAMS = count()
_TABLE = """
    CREATE TABLE bare (
        position bigserial PRIMARY KEY, stream text NOT NULL, version int NOT NULL,
        type text NOT NULL, recorded_at bigint NOT NULL, data bytea NOT NULL,
        UNIQUE (stream, version)
    )
"""
_INSERT = "INSERT INTO bare (stream, version, type, recorded_at, data) VALUES (%s, %s, %s, %s, %b)"


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """Appends by one thread and by many, one event and many at once, and reading the log."""
    folder.chmod(0o755)
    with PrivatePostgres(folder / "server") as server, open_store(server.url()) as store:
        bare = psycopg.connect(server.url(), autocommit=True)
        bare.execute(_TABLE)
        yield from run_appends(store, bare, rounds)
        yield read_log(store, bare, rounds)
        bare.close()


def run_appends(store: EventStore, bare: psycopg.Connection, rounds: int) -> Iterator[Comparison]:
    """Durable appends, on PostgreSQL's usual settings."""
    one = bare_loop(bare)
    yield compare(
        "PostgreSQL: append one event",
        store_loop(store),
        floor_name="psycopg: begin, insert, commit",
        floor=one,
        target=Target(kind="speed", bound=0.75),
        rounds=rounds,
        count=APPENDS,
    )
    yield compare(
        f"PostgreSQL: append one event with its command, {THREADS} threads",
        in_threads(store),
        floor_name="psycopg, one thread: begin, insert, commit",
        floor=lambda: one() * THREADS * EACH / APPENDS,
        target=Target(kind="speed", bound=1.5),
        rounds=rounds,
        count=THREADS * EACH,
    )
    yield compare(
        f"PostgreSQL: append {AT_ONCE:,} events in one call",
        many_in_the_store(store),
        floor_name="psycopg: executemany on a plain table",
        floor=executemany(bare),
        target=Target(kind="speed", bound=2.5),
        rounds=rounds,
        count=AT_ONCE,
    )


def read_log(store: EventStore, bare: psycopg.Connection, rounds: int) -> Comparison:
    """The whole log, decoded, beside a server-side cursor with the join."""
    while store.head_position() < LOG:
        events = [NewEvent(StringValue(value=PAYLOAD)) for _ in range(AT_ONCE)]
        store.append(f"Filler-{next(_STREAMS)}", events, expected_version=0)
    head = store.head_position()
    return compare(
        f"PostgreSQL: read and decode {LOG:,} events",
        timed(lambda: sum(len(event.message.value) for event in store.read_all(after=head - LOG))),
        floor_name="psycopg: server-side cursor with the join, decoded",
        floor=timed(lambda: read_by_cursor(bare, head - LOG)),
        target=Target(kind="speed", bound=1.0),
        rounds=rounds,
        count=LOG,
    )


def read_by_cursor(bare: psycopg.Connection, after: int) -> int:
    """What one writes by hand."""
    total = 0
    with bare.transaction(), bare.cursor(name="log", binary=True) as cursor:
        cursor.itersize = 2_000
        cursor.execute(
            """
            SELECT e.global_position, s.name, s.tenant, e.version, e.event_id, t.event_type,
                   e.recorded_at, e.metadata, e.data
            FROM eskit.events e
            JOIN eskit.streams s USING (stream_id) JOIN eskit.event_types t USING (type_id)
            WHERE e.global_position > %s ORDER BY e.global_position
            """,
            (after,),
        )
        for row in cursor:
            total += len(StringValue.FromString(row[-1]).value)
    return total


def store_loop(store: EventStore) -> Timed:
    """Appends of one event to one stream, one after another."""

    def run() -> float:
        stream = f"Account-{next(_STREAMS)}"
        start = time.perf_counter()
        for version in range(APPENDS):
            store.append(stream, [event()], expected_version=version)
        return time.perf_counter() - start

    return run


def bare_loop(bare: psycopg.Connection) -> Timed:
    """As many rows in a flat table: no check, no order."""

    def run() -> float:
        stream = f"Account-{next(_STREAMS)}"
        start = time.perf_counter()
        for version in range(APPENDS):
            data = StringValue(value=PAYLOAD).SerializeToString()
            row = (stream, version, "google.protobuf.StringValue", version, data)
            with bare.transaction():
                bare.execute(_INSERT, row, prepare=True)
        return time.perf_counter() - start

    return run


def in_threads(store: EventStore) -> Timed:
    """Many threads, each with a stream of its own and a command for each append."""

    def run() -> float:
        def append(_thread: int) -> None:
            stream = f"Account-{next(_STREAMS)}"
            for version in range(EACH):
                command = Command(id=str(uuid4()), fingerprint="Deposit")
                store.append(stream, [event()], expected_version=version, command=command)

        with ThreadPoolExecutor(THREADS) as pool:
            start = time.perf_counter()
            list(pool.map(append, range(THREADS)))
            return time.perf_counter() - start

    return run


def many_in_the_store(store: EventStore) -> Timed:
    """Many events in one append."""

    def run() -> float:
        events = [event() for _ in range(AT_ONCE)]
        start = time.perf_counter()
        store.append(f"Account-{next(_STREAMS)}", events, expected_version=0)
        return time.perf_counter() - start

    return run


def executemany(bare: psycopg.Connection) -> Timed:
    """As many rows in one executemany."""

    def run() -> float:
        stream = f"Account-{next(_STREAMS)}"
        data = StringValue(value=PAYLOAD).SerializeToString()
        rows = [(stream, number, "a.Event", number, data) for number in range(AT_ONCE)]
        start = time.perf_counter()
        with bare.transaction(), bare.cursor() as cursor:
            cursor.executemany(_INSERT, rows)
        return time.perf_counter() - start

    return run


def event() -> NewEvent:
    """One to append."""
    return NewEvent(StringValue(value=PAYLOAD))
