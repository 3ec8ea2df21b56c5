"""What a large log costs: each append, the memory of a reader, the disk."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, EventStore, NewEvent, open_store
from tests.benchmarks import peers
from tests.benchmarks.appending import PAYLOAD
from tests.benchmarks.comparison import Comparison, Target, Timed, compare

SMALL, LARGE = 10_000, 1_000_000
APPENDS = 500
ON_DISK = 50_000
_STREAMS = count()

_READER = """
import json, re, sys
from pathlib import Path
import google.protobuf.wrappers_pb2
from eskit import open_store

def peak():  # of this program alone: getrusage counts what the parent was when it forked
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

with open_store(sys.argv[1], create=False) as store:
    for event in store.read_all(limit=5_000):
        event.message
    before, seen = peak(), 0
    for event in store.read_all():
        event.message
        seen += 1
    print(json.dumps([seen, before, peak()]))
"""


def fill(store: EventStore, events: int) -> None:
    """So many events, a thousand to a stream."""
    for _ in range(events // 1_000):
        batch = [NewEvent(StringValue(value=PAYLOAD)) for _ in range(1_000)]
        store.append(f"Account-{next(_STREAMS)}", batch, expected_version=ANY)


def one_by_one(store: EventStore) -> Timed:
    """Appends of one event, by turns to a hundred streams that are there."""
    streams = [f"Order-{number}" for number in range(100)]
    turn = count()

    def run() -> float:
        start = time.perf_counter()
        for _ in range(APPENDS):
            event = NewEvent(StringValue(value=PAYLOAD))
            store.append(streams[next(turn) % 100], [event], expected_version=ANY)
        return time.perf_counter() - start

    return run


def memory_of_a_reader(url: str) -> Comparison:
    """How much a process grows while it reads the whole log; measured on Linux."""
    program = [sys.executable, "-c", _READER, url]
    answer = subprocess.run(program, check=True, capture_output=True, text=True).stdout
    seen, before, after = json.loads(answer)
    assert seen >= LARGE
    return Comparison(
        name=f"peak memory after reading {LARGE:,} events",
        floor_name="the same process after reading 5,000 of them",
        ours=after,
        floor=before,
        target=Target(kind="extra", bound=30e6, unit="bytes"),
    )


def bytes_on_disk(folder: Path) -> Comparison:
    """What a stored event takes beyond its payload and metadata."""
    path, peer_path = folder / "disk.db", folder / "peer.db"
    with open_store(f"sqlite:///{path}?synchronous=normal") as store:
        fill(store, ON_DISK)
        payload = sum(len(event.data) for event in store.read_all())
    bank = peers.open_bank(peer_path)
    for _ in range(ON_DISK // 1_000):
        peers.fill(bank, 999, PAYLOAD)
    bank.close()
    return Comparison(
        name="bytes on disk for an event, over payload and metadata",
        floor_name="pyeventsourcing, over its state",
        ours=(path.stat().st_size - payload) / ON_DISK,
        floor=peers.bytes_per_event(peers.open_bank(peer_path), peer_path, ON_DISK),
        target=Target(kind="time", bound=1.0, unit="bytes"),
    )


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """The same store small and large."""
    large = f"sqlite:///{folder / 'large.db'}?synchronous=normal"
    with (
        open_store(large) as grown,
        open_store(f"sqlite:///{folder / 'small.db'}?synchronous=normal") as small,
    ):
        fill(small, SMALL)
        fill(grown, LARGE)
        yield compare(
            f"append one event at {LARGE:,} stored",
            one_by_one(grown),
            floor_name=f"the same at {SMALL:,} stored",
            floor=one_by_one(small),
            target=Target(kind="time", bound=1.3),
            rounds=rounds,
            count=APPENDS,
        )
    yield memory_of_a_reader(large)
    yield bytes_on_disk(folder)
