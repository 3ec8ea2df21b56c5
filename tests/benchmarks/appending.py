"""One event per append beside a loop over sqlite3 that does the same and nothing else."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from google.protobuf.wrappers_pb2 import StringValue

from eskit import NewEvent, open_store
from tests.benchmarks.comparison import Comparison, Target, Timed, compare

APPENDS = 2_000
PAYLOAD = "a deposit of fifty euros, as a payload of usual size"
_STREAMS = count()

_TABLE = """
    CREATE TABLE events (
        position INTEGER PRIMARY KEY, stream TEXT NOT NULL, version INTEGER NOT NULL,
        type TEXT NOT NULL, recorded_at INTEGER NOT NULL, data BLOB NOT NULL,
        UNIQUE (stream, version)
    )
"""


def raw_loop(path: Path, synchronous: str) -> Timed:
    """Begin, read the version, insert, commit: the least an append can be."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute(_TABLE)

    def run() -> float:
        stream = f"Account-{next(_STREAMS)}"
        start = time.perf_counter()
        for number in range(APPENDS):
            data = StringValue(value=PAYLOAD).SerializeToString()
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute(
                "SELECT coalesce(max(version), 0) FROM events WHERE stream = ?", (stream,)
            ).fetchone()
            connection.execute(
                "INSERT INTO events (stream, version, type, recorded_at, data) "
                "VALUES (?, ?, ?, ?, ?)",
                (stream, version + 1, "google.protobuf.StringValue", number, data),
            )
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


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """Durable appends, one thread, each with the expected version."""
    yield compare(
        "append one event, durable",
        store_loop(f"sqlite:///{folder / 'store.db'}"),
        floor_name="sqlite3: begin, select, insert, commit",
        floor=raw_loop(folder / "raw.db", "FULL"),
        target=Target(kind="speed", bound=0.5),
        rounds=rounds,
        count=APPENDS,
    )
