"""Appends beside loops over sqlite3 that do the same and nothing else, and pyeventsourcing."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, NewEvent, open_store
from eskit.store.sqlite.checksums import event_checksum
from eskit.store.sqlite.keys import add_stream, kind_key
from eskit.store.sqlite.queries import query
from tests.benchmarks import peers
from tests.benchmarks.comparison import Comparison, Target, Timed, compare

APPENDS = 1_000
THREADS = 64
EACH = 40
SUBMITTED = 3_200
AT_ONCE = 1_000
PAYLOAD = "a deposit of fifty euros, as a payload of usual size"
_STREAMS = count()

_TABLE = """
    CREATE TABLE IF NOT EXISTS events (
        position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL,
        type TEXT NOT NULL, recorded_at INTEGER NOT NULL, data BLOB NOT NULL,
        UNIQUE (stream, version)
    )
"""
_FIND = "SELECT coalesce(max(version), 0) FROM events WHERE stream = ?"
_INSERT = "INSERT INTO events (stream, version, type, recorded_at, data) VALUES (?, ?, ?, ?, ?)"


def connect(path: Path, synchronous: str) -> sqlite3.Connection:
    """A plain database of the usual kind."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute(_TABLE)
    return connection


def insert_next(connection: sqlite3.Connection, stream: str) -> None:
    """Read the version, insert the next event."""
    data = StringValue(value=PAYLOAD).SerializeToString()
    (version,) = connection.execute(_FIND, (stream,)).fetchone()
    row = (stream, version + 1, "google.protobuf.StringValue", version, data)
    connection.execute(_INSERT, row)


def raw_loop(path: Path, synchronous: str) -> Timed:
    """Begin, read the version, insert, commit: the least an append can be."""
    connection = connect(path, synchronous)

    def run() -> float:
        stream = f"Account-{next(_STREAMS)}"
        start = time.perf_counter()
        for _ in range(APPENDS):
            connection.execute("BEGIN IMMEDIATE")
            insert_next(connection, stream)
            connection.execute("COMMIT")
        return time.perf_counter() - start

    return run


def store_loop(url: str) -> Timed:
    """The same appends through the store."""
    store = open_store(url)

    def run() -> float:
        stream = f"Account-{next(_STREAMS)}"
        start = time.perf_counter()
        for version in range(APPENDS):
            event = NewEvent(StringValue(value=PAYLOAD))
            store.append(stream, [event], expected_version=version)
        return time.perf_counter() - start

    return run


def store_of_new_streams(url: str) -> Timed:
    """Appends of one event, each to a stream of its own."""
    store = open_store(url)

    def run() -> float:
        start = time.perf_counter()
        for _ in range(APPENDS):
            event = NewEvent(StringValue(value=PAYLOAD))
            store.append(f"Account-{next(_STREAMS)}", [event], expected_version=0)
        return time.perf_counter() - start

    return run


def in_threads(append: Callable[[str], object]) -> Timed:
    """`EACH` appends by each of `THREADS` threads, a stream for every thread."""

    def run() -> float:
        ready = threading.Barrier(THREADS + 1)

        def work(stream: str) -> None:
            ready.wait()
            for _ in range(EACH):
                append(stream)

        with ThreadPoolExecutor(THREADS) as pool:
            working = [pool.submit(work, f"Account-{next(_STREAMS)}") for _ in range(THREADS)]
            ready.wait()
            start = time.perf_counter()
            for future in working:
                future.result()
            return time.perf_counter() - start

    return run


def submitted_by(threads: int, submit: Callable[[str], Future[Any]]) -> Timed:
    """`SUBMITTED` appends by so many threads, which wait for none before all are under way."""

    def run() -> float:
        ready = threading.Barrier(threads + 1)

        def work(stream: str) -> None:
            ready.wait()
            answers = [submit(stream) for _ in range(SUBMITTED // threads)]
            for answer in answers:
                answer.result()

        with ThreadPoolExecutor(threads) as pool:
            working = [pool.submit(work, f"Account-{next(_STREAMS)}") for _ in range(threads)]
            ready.wait()
            start = time.perf_counter()
            for future in working:
                future.result()
            return time.perf_counter() - start

    return run


class BareGroupCommit:
    """A thread that takes what waits, runs it in one transaction and wakes each who waits."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path, "FULL")
        self._waiting: deque[tuple[str, Callable[[], object]]] = deque()
        self._work = threading.Semaphore(0)
        threading.Thread(target=self._run, daemon=True).start()

    def append(self, stream: str) -> None:
        """Wait until the next event of the stream is on disk."""
        done = threading.Lock()
        done.acquire()
        self._put(stream, done.release)
        done.acquire()

    def submit(self, stream: str) -> Future[None]:
        """The future of the next event of the stream; it is on disk when the future is done."""
        done: Future[None] = Future()
        self._put(stream, partial(done.set_result, None))
        return done

    def _put(self, stream: str, tell: Callable[[], object]) -> None:
        self._waiting.append((stream, tell))
        self._work.release()

    def _run(self) -> None:
        while True:
            self._work.acquire()
            batch = []
            while self._waiting:
                batch.append(self._waiting.popleft())
            if not batch:
                continue
            self._connection.execute("BEGIN IMMEDIATE")
            for stream, _ in batch:
                insert_next(self._connection, stream)
            self._connection.execute("COMMIT")
            for _, tell in batch:
                tell()


def shared_store(url: str) -> Callable[[str], object]:
    """Append one event to a stream of one store for all."""
    store = open_store(url)

    def append(stream: str) -> object:
        return store.append(stream, [NewEvent(StringValue(value=PAYLOAD))], expected_version=ANY)

    return append


def submitting_store(url: str) -> Callable[[str], Future[Any]]:
    """Submit one event to a stream of one store for all."""
    store = open_store(url)

    def submit(stream: str) -> Future[Any]:
        return store.submit(stream, [NewEvent(StringValue(value=PAYLOAD))], expected_version=ANY)

    return submit


def many_through_the_store(url: str) -> Timed:
    """`AT_ONCE` events in one append."""
    store = open_store(url)

    def run() -> float:
        events = [NewEvent(StringValue(value=PAYLOAD)) for _ in range(AT_ONCE)]
        stream = f"Account-{next(_STREAMS)}"
        start = time.perf_counter()
        store.append(stream, events, expected_version=0)
        return time.perf_counter() - start

    return run


def many_through_executemany(path: Path) -> Timed:
    """As many rows in one executemany on the same table."""
    open_store(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    stream_id = add_stream(connection, "Account-1", "", "Account")
    kind_id = kind_key(connection, "Account", "a.Event")
    position = count(1)

    def run() -> float:
        first = [NewEvent(StringValue(value=PAYLOAD)) for _ in range(AT_ONCE)]
        rows = []
        for event in first:
            at = next(position)
            place = at, stream_id, at, kind_id, event.id_bytes, at
            checksum = event_checksum(0, at, at, at, event.id_bytes, b"", event.data)
            rows.append((*place, "", None, event.data, checksum))
        start = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(query("insert_event"), rows)
        connection.execute("COMMIT")
        return time.perf_counter() - start

    return run


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """Durable appends by one thread and by many, one event at a time and many at once."""
    yield compare(
        "append one event, durable",
        store_loop(f"sqlite:///{folder / 'full.db'}"),
        floor_name="sqlite3: begin, select, insert, commit",
        floor=raw_loop(folder / "raw-full.db", "FULL"),
        target=Target(kind="speed", bound=0.8),
        rounds=rounds,
        count=APPENDS,
    )
    yield compare(
        "append one event to a new stream, durable",
        store_of_new_streams(f"sqlite:///{folder / 'new.db'}"),
        floor_name="pyeventsourcing: save a new aggregate",
        floor=peers.saving(peers.open_bank(folder / "peer.db"), APPENDS),
        target=Target(kind="speed", bound=1.2),
        rounds=rounds,
        count=APPENDS,
    )
    yield compare(
        "append one event, synchronous=normal",
        store_loop(f"sqlite:///{folder / 'normal.db'}?synchronous=normal"),
        floor_name="sqlite3: begin, select, insert, commit",
        floor=raw_loop(folder / "raw-normal.db", "NORMAL"),
        target=Target(kind="speed", bound=0.6),
        rounds=rounds,
        count=APPENDS,
    )
    yield from run_threads(folder, rounds)
    yield compare(
        f"append {AT_ONCE:,} events in one call, durable",
        many_through_the_store(f"sqlite:///{folder / 'many.db'}"),
        floor_name="sqlite3: executemany on the same table",
        floor=many_through_executemany(folder / "raw-many.db"),
        target=Target(kind="speed", bound=0.6),
        rounds=rounds * 3,
        count=AT_ONCE,
    )


def run_threads(folder: Path, rounds: int) -> Iterator[Comparison]:
    """Many threads that share durable commits."""
    ours = in_threads(shared_store(f"sqlite:///{folder / 'threads.db'}"))
    one = raw_loop(folder / "raw-one.db", "FULL")
    yield compare(
        f"append one event, durable, {THREADS} threads",
        ours,
        floor_name="sqlite3 by one thread: begin, select, insert, commit",
        floor=lambda: one() * THREADS * EACH / APPENDS,
        target=Target(kind="speed", bound=3.0),
        rounds=rounds,
        count=THREADS * EACH,
    )
    yield compare(
        f"append one event, durable, {THREADS} threads",
        ours,
        floor_name="a thread that commits what waits, and nothing else",
        floor=in_threads(BareGroupCommit(folder / "bare.db").append),
        target=Target(kind="speed", bound=0.8),
        rounds=rounds,
        count=THREADS * EACH,
    )
    for threads in (1, 16):
        yield compare(
            f"submit one event, durable, {threads} {'threads' if threads > 1 else 'thread'}",
            submitted_by(threads, submitting_store(f"sqlite:///{folder / f'ours-{threads}.db'}")),
            floor_name="a thread that commits what waits, and nothing else",
            floor=submitted_by(threads, BareGroupCommit(folder / f"bare-{threads}.db").submit),
            target=Target(kind="speed", bound=0.8),
            rounds=rounds,
            count=SUBMITTED,
        )
