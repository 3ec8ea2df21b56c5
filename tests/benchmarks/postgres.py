"""The store in PostgreSQL beside loops over psycopg, and beside pyeventsourcing.

One server serves all sides. Its flushes are those of the disk that the benchmarks run on.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue

from eskit import EventStore, open_store
from eskit.domain.messages import message_class
from eskit.nats.server import EmbeddedNats
from eskit.postgres.server import PrivatePostgres
from eskit.projections.engine import ProjectionEngine
from tests.benchmarks import exchanging, peers, rebuilding
from tests.benchmarks.comparison import Comparison, Target, Timed, compare, timed
from tests.benchmarks.contending import (
    INSERT,
    PAYLOAD,
    TABLE,
    appending,
    event,
    insert,
    new_stream,
    processes,
)
from tests.benchmarks.noting import served
from tests.benchmarks.projecting import KINDS, bounded, latencies, projection
from tests.benchmarks.reading import load
from tests.benchmarks.resources import idle_share
from tests.benchmarks.streaming import CALLS, IN_FLIGHT, calling

APPENDS = 500
THREADS = 64
EACH = 20
PROCESSES, THREADS_OF_ONE = 4, 16
AT_ONCE = 1_000
LOG = 50_000
LONG = 5_000
A_SECOND = 100


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """Appends by one and by many, reading, following, and commands to two services."""
    folder.chmod(0o755)
    with (
        PrivatePostgres(folder / "server") as server,
        open_store(server.url()) as store,
        psycopg.connect(server.url(), autocommit=True) as bare,
        closing(peers.open_postgres_bank(server.url(), functions=False)) as bank,
        closing(peers.open_postgres_bank(server.url(), functions=True)) as function_bank,
    ):
        bare.execute(TABLE)
        yield from run_single_appends(store, bare, bank, rounds)
        yield from run_threads(server.url(), bank, function_bank, rounds)
        yield from run_processes(server.url(), rounds)
        yield from run_reads(store, bare, bank, rounds)
        yield from run_following(server.url(), folder)
        yield from run_services(server.url(), folder, rounds)
        yield rebuilding.run_on_postgres(server.url(), folder, rounds)
        yield from exchanging.run(server.url(), rounds)


def run_single_appends(
    store: EventStore, bare: psycopg.Connection, bank: peers.Bank, rounds: int
) -> Iterator[Comparison]:
    """Durable appends by one thread, on PostgreSQL's usual settings."""
    for floor_name, floor, bound in (
        ("psycopg: begin, insert, commit", bare_loop(bare), 0.75),
        ("pyeventsourcing: insert_events", peers.inserting(bank, APPENDS, PAYLOAD), 1.6),
    ):
        yield compare(
            "PostgreSQL: append one event",
            store_loop(store),
            floor_name=floor_name,
            floor=floor,
            target=Target(kind="speed", bound=bound),
            rounds=rounds,
            count=APPENDS,
        )
    yield compare(
        f"PostgreSQL: append {AT_ONCE:,} events in one call",
        many_in_the_store(store),
        floor_name="psycopg: executemany on a plain table",
        floor=executemany(bare),
        target=Target(kind="speed", bound=2.5),
        rounds=3 * rounds,
        count=AT_ONCE,
    )


def run_threads(
    url: str, bank: peers.Bank, function_bank: peers.Bank, rounds: int
) -> Iterator[Comparison]:
    """Many threads, each with a stream of its own, and for eskit a command with each append."""
    with (
        appending(url, "eskit", THREADS, EACH) as ours,
        appending(url, "bare", THREADS, EACH) as bare,
    ):
        for floor_name, floor, bound in (
            ("psycopg, as many connections: begin, insert, commit", bare, 1.5),
            ("pyeventsourcing: insert_events", threaded(bank), 12.0),
            ("pyeventsourcing: its database function", threaded(function_bank), 4.0),
        ):
            yield compare(
                f"PostgreSQL: append one event with its command, {THREADS} threads",
                ours,
                floor_name=floor_name,
                floor=floor,
                target=Target(kind="speed", bound=bound),
                rounds=max(3, rounds // 2),
                count=THREADS * EACH,
            )


def run_processes(url: str, rounds: int) -> Iterator[Comparison]:
    """Several processes with many threads each."""
    name = f"PostgreSQL: the same by {PROCESSES} processes of {THREADS_OF_ONE} threads"
    taken: list[list[float]] = []

    def ours() -> float:
        taken.append(processes(url, "eskit", PROCESSES, THREADS_OF_ONE, EACH))
        return max(taken[-1])

    yield compare(
        name,
        ours,
        floor_name="psycopg, as many connections: begin, insert, commit",
        floor=lambda: max(processes(url, "bare", PROCESSES, THREADS_OF_ONE, EACH)),
        target=Target(kind="speed", bound=1.3),
        rounds=max(3, rounds // 2),
        count=PROCESSES * THREADS_OF_ONE * EACH,
    )
    yield Comparison(
        name=f"{name}, the slowest",
        floor_name="the fastest",
        ours=statistics.median(max(times) for times in taken),
        floor=statistics.median(min(times) for times in taken),
        target=Target(kind="speed", bound=0.7),
        count=THREADS_OF_ONE * EACH,
    )


def run_reads(
    store: EventStore, bare: psycopg.Connection, bank: peers.Bank, rounds: int
) -> Iterator[Comparison]:
    """The whole log, decoded, and one long stream, folded."""
    while store.head_position() < LOG:
        store.append(new_stream(), [event() for _ in range(AT_ONCE)], expected_version=0)
    head = store.head_position()
    yield compare(
        f"PostgreSQL: read and decode {LOG:,} events",
        timed(lambda: sum(len(event.message.value) for event in store.read_all(after=head - LOG))),
        floor_name="psycopg: server-side cursor with the join, decoded",
        floor=timed(lambda: read_by_cursor(bare, head - LOG)),
        target=Target(kind="speed", bound=1.0),
        rounds=rounds,
        count=LOG,
    )
    long = peers.fill(bank, LONG, "a note")
    for _ in range(LOG // LONG):
        peers.fill(bank, LONG - 1, PAYLOAD)
    last = peers.last_position(bank)
    yield compare(
        f"PostgreSQL: read and decode {LOG:,} events",
        timed(lambda: sum(len(event.message.value) for event in store.read_all(after=head - LOG))),
        floor_name="pyeventsourcing: select notifications, to domain events",
        floor=peers.reading(bank, LOG, after=last - LOG),
        target=Target(kind="speed", bound=1.8),
        rounds=max(3, rounds // 3),
        count=LOG,
    )
    loading = load(store)  # makes the stream that is read before
    yield compare(
        f"PostgreSQL: read and decode the {LONG + 1:,} events of a stream",
        timed(
            lambda: [
                message_class(row.event_type).FromString(row.data)
                for row in store.read_rows("Ledger-1")
            ]
        ),
        floor_name="psycopg: select by version, decoded",
        floor=timed(lambda: select_stream(bare)),
        target=Target(kind="speed", bound=0.8),
        rounds=3 * rounds,
        count=LONG + 1,
    )
    yield compare(
        f"PostgreSQL: load an aggregate of {LONG + 1:,} events",
        loading,
        floor_name="pyeventsourcing: repository.get",
        floor=peers.loading(bank, long),
        target=Target(kind="speed", bound=2.0),
        rounds=rounds,
        count=LONG + 1,
    )


def run_following(url: str, folder: Path) -> Iterator[Comparison]:
    """How soon what another process appends is a row, and what waiting for it costs."""
    bank = f"{url}?schema=following"
    # Two stores, of which one knows nothing of the other's appends.
    with open_store(bank) as writing, open_store(bank) as reading:
        engine = ProjectionEngine(
            reading, [projection(folder, 0, KINDS)], f"sqlite:///{folder / 'read.db'}"
        )
        found = latencies(writing, engine, a_second=A_SECOND)
        engine.close()
    name = "PostgreSQL: append to visible row"
    yield bounded(f"{name}, {A_SECOND} a second, median", statistics.median(found), 0.003)
    yield bounded(f"{name}, p99", sorted(found)[int(len(found) * 0.99)], 0.025)
    waited = idle_share(folder / "waiting", f"{url}?schema=waiting")
    yield bounded("PostgreSQL: ten projections idle, core seconds in a second", waited, 0.005)


def run_services(url: str, folder: Path, rounds: int) -> Iterator[Comparison]:
    """Commands over NATS to two processes that share the store, beside one that has its own."""
    with ExitStack() as stack:
        servers = [stack.enter_context(EmbeddedNats(folder / name)) for name in ("two", "one")]
        for server, count in zip(servers, (2, 1), strict=True):
            for _ in range(count):
                stack.enter_context(served(server.url, f"{url}?schema=services_{count}"))
        two, one = (calling(server.url, in_flight=IN_FLIGHT) for server in servers)
        yield compare(
            f"PostgreSQL: commands over NATS, {IN_FLIGHT} in flight, two processes that serve",
            two,
            floor_name="one process that serves",
            floor=one,
            target=Target(kind="speed", bound=1.4),
            rounds=rounds,
            count=CALLS,
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


def select_stream(bare: psycopg.Connection) -> list[Message]:
    """All events of a stream that folding needs, decoded."""
    with bare.cursor(binary=True) as cursor:
        rows = cursor.execute(
            """
            SELECT e.version, t.event_type, e.recorded_at, e.metadata, e.data
            FROM eskit.events e JOIN eskit.event_types t USING (type_id)
            WHERE e.stream_id = (SELECT stream_id FROM eskit.streams WHERE name = 'Ledger-1')
            ORDER BY e.version
            """,
            prepare=True,
        ).fetchall()
    return [message_class(kind).FromString(data) for _, kind, _, _, data in rows]


def store_loop(store: EventStore) -> Timed:
    """Appends of one event to one stream, one after another."""

    def run() -> float:
        stream = new_stream()
        start = time.perf_counter()
        for version in range(APPENDS):
            store.append(stream, [event()], expected_version=version)
        return time.perf_counter() - start

    return run


def bare_loop(bare: psycopg.Connection) -> Timed:
    """As many rows in a flat table."""

    def run() -> float:
        stream = new_stream()
        start = time.perf_counter()
        for number in range(APPENDS):
            insert(bare, stream, number)
        return time.perf_counter() - start

    return run


def threaded(bank: peers.Bank) -> Timed:
    """A few inserts of a peer by many threads, as if they were as many as eskit's."""
    few = 2
    return lambda: peers.inserting(bank, few, PAYLOAD, threads=THREADS)() * EACH / few


def many_in_the_store(store: EventStore) -> Timed:
    """Many events in one append."""

    def run() -> float:
        events = [event() for _ in range(AT_ONCE)]
        start = time.perf_counter()
        store.append(new_stream(), events, expected_version=0)
        return time.perf_counter() - start

    return run


def executemany(bare: psycopg.Connection) -> Timed:
    """As many rows in one executemany."""

    def run() -> float:
        stream = new_stream()
        data = StringValue(value=PAYLOAD).SerializeToString()
        rows = [(stream, number, "a.Event", number, data) for number in range(AT_ONCE)]
        start = time.perf_counter()
        with bare.transaction(), bare.cursor() as cursor:
            cursor.executemany(INSERT, rows)
        return time.perf_counter() - start

    return run
