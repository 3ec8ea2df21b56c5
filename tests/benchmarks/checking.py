"""The most memory that commands over a large store take, each a process of its own.

``python -m tests.benchmarks.checking ARGUMENTS`` runs a command of eskit and says on stderr how
much that was.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, EventStore, NewEvent, open_store
from eskit.cli.main import main as run_eskit
from eskit.store.sqlite import checksums
from tests.benchmarks.comparison import Comparison, Target
from tests.benchmarks.resources import most_memory

STREAMS = 1_000_000
LARGE, LARGE_BYTES = 20, 10_000_000
AT_MOST = 200e6

COMMANDS = (
    ("store verify", ("store", "verify")),
    ("stream list", ("stream", "list")),
    ("stream list --erased", ("stream", "list", "--erased")),
    ("stream read", ("stream", "read", "Large-1")),
)


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """One store for all; a peak is the same every time, so each is measured once."""
    del rounds
    path = folder / "large.db"
    url = f"sqlite:///{path}?synchronous=normal"
    with open_store(url) as store:
        fill(store)
    multiply(path)
    for name, arguments in COMMANDS:
        yield Comparison(
            name=f"eskit {name}, {STREAMS:,} streams, events of 10 MB: memory",
            floor_name="nothing",
            ours=peak_of("--store", url, *arguments),
            floor=0.0,
            target=Target(kind="extra", bound=AT_MOST, unit="bytes"),
        )


def fill(store: EventStore) -> None:
    """Events that are large, and one that is not."""
    for _ in range(LARGE):
        event = NewEvent(StringValue(value="x" * LARGE_BYTES))
        store.append("Large-1", [event], expected_version=ANY)
    store.append("Account-0", [NewEvent(StringValue(value="small"))], expected_version=0)


def multiply(path: Path) -> None:
    """Copy the small event into `STREAMS` streams of its own, each with an id and a checksum."""
    with closing(sqlite3.connect(path)) as connection:
        checksums.add_functions(connection)
        (position,) = connection.execute("SELECT max(global_position) FROM events").fetchone()
        (stream_id,) = connection.execute("SELECT max(stream_id) FROM streams").fetchone()
        numbers = {"streams": STREAMS, "position": position, "stream_id": stream_id}
        for statement in _MULTIPLY:
            connection.execute(_NUMBERS + statement, numbers)
        connection.commit()


_NUMBERS = """
    WITH RECURSIVE numbers (n) AS (
        SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :streams
    )
"""
_MULTIPLY = (
    """
    INSERT INTO streams (stream_id, name, tenant, category)
    SELECT :stream_id + n, 'Account-' || n, '', 'Account' FROM numbers
    """,
    """
    INSERT INTO events
    SELECT :position + n, :stream_id + n, 1, kind_id,
        CAST(printf('%016d', n) AS BLOB), recorded_at, metadata, claims, data,
        event_checksum(
            CAST('' AS BLOB), CAST('Account-' || n AS BLOB), CAST(event_type AS BLOB),
            :position + n, 1, recorded_at, CAST(printf('%016d', n) AS BLOB),
            CAST(metadata AS BLOB), CAST('' AS BLOB), data
        )
    FROM numbers, events JOIN kinds USING (kind_id) WHERE global_position = :position
    """,
    """
    INSERT INTO event_ids
    SELECT CAST(printf('%016d', n) AS BLOB), :position + n FROM numbers
    """,
)


def peak_of(*arguments: str) -> float:
    """The most bytes that a command takes."""
    command = [sys.executable, "-m", __spec__.name, *arguments]
    done = subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    return float(done.stderr.splitlines()[-1])


if __name__ == "__main__":
    code = run_eskit(sys.argv[1:])
    sys.stderr.write(f"{most_memory()}\n")
    sys.exit(code)
