"""Kills appending processes at random moments and checks after each what is in the log.

Run as ``python killing.py URL ROUNDS SEED``. A process that has eskit loaded forks a child for
each round, so that a round takes milliseconds. The child's threads append batches that share
commits, and report each batch when its append has returned. Prints what was counted as JSON;
raises AssertionError at the first promise that is broken.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter

from google.protobuf.wrappers_pb2 import StringValue

from eskit import NewEvent, claim, open_store
from eskit.domain.commands import Command

BATCH = 3
THREADS = 2
LONGEST_LIFE = 0.05


def append_until_killed(url: str, round_number: int, report: int) -> None:
    """Append batches of BATCH events, each with a claim and a command; report each."""

    def write(thread: int) -> None:
        stream = f"Batch-{thread}"
        for number in range(1_000_000):
            name = f"{round_number}-{thread}-{number}"
            events = [NewEvent(StringValue(value=f"{name}-{part}")) for part in range(BATCH)]
            first = NewEvent(StringValue(value=f"{name}-0"), claims=[claim("batch", name)])
            result = store.append(
                stream,
                [first, *events[1:]],
                expected_version=store.stream_version(stream),
                command=Command(id=name, fingerprint="batch", response=name.encode()),
            )
            os.write(report, f"{stream} {result.version} {name}\n".encode())

    store = open_store(url)
    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def kill_one(url: str, round_number: int, life: float) -> list[tuple[str, int, str]]:
    """Start a child, let it live so long after its first word, kill it; what it reported."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        append_until_killed(url, round_number, writing)
        os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as reports:
        said = reports.read1(1)
        time.sleep(life)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        said += reports.read()
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    lines = said.decode().splitlines(keepends=True)
    reported = [line.split() for line in lines if line.endswith("\n")]
    return [(stream, int(version), name) for stream, version, name in reported]


def check(url: str, after: int, acknowledged: list[tuple[str, int, str]]) -> int:
    """What was acknowledged is there and nothing is half there; the head of the log."""
    with open_store(url, create=False) as store:
        events = list(store.read_all(after=after))
        positions = [event.global_position for event in events]
        assert positions == list(range(after + 1, after + len(events) + 1))
        batches = Counter(event.message.value.rpartition("-")[0] for event in events)
        assert set(batches.values()) <= {BATCH}, "half a batch is there"
        for stream, version, name in acknowledged:
            assert batches[name] == BATCH, f"{name} was acknowledged and is not there"
            stored = [e.message.value for e in store.read_stream(stream, after=version - BATCH)]
            assert stored[:BATCH] == [f"{name}-{part}" for part in range(BATCH)]
        for name in batches:
            assert store.find_claim("batch", name) == f"Batch-{name.split('-')[1]}"
            record = store.find_command(name)
            assert record is not None
            assert record.response == name.encode()
        for thread in range(THREADS):
            stream = f"Batch-{thread}"
            last = [event.version for event in events if event.stream == stream]
            version = store.stream_version(stream)
            assert last == list(range(version - len(last) + 1, version + 1))
        return store.head_position()


def main(url: str, rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    head, told = 0, 0
    for round_number in range(rounds):
        acknowledged = kill_one(url, round_number, dice.uniform(0, LONGEST_LIFE))
        head = check(url, head, acknowledged)
        told += len(acknowledged)
    json.dump({"rounds": rounds, "acknowledged": told, "events": head}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
