"""Several processes on one file: real ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from eskit.store.open import open_store

URL = "sqlite:///log.db?synchronous=normal"
PROGRAM = Path(__file__).parents[1] / "support" / "processes" / "writing.py"


def start(stream, count):
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), URL, stream, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def go(writers):
    """Start all at once; the store exists and is open in each."""
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()


def finish(writer):
    output, errors = writer.communicate(timeout=60)
    assert errors == ""
    return {name: int(times) for name, times in map(str.split, output.splitlines())}


@pytest.mark.promise("one-writer-wins")
def test_two_processes_on_one_stream_get_conflicts_and_nothing_else():
    writers = [start("Account-1", 150) for _ in range(2)]
    go(writers)

    outcomes = [finish(writer) for writer in writers]

    appended = sum(outcome.get("appended", 0) for outcome in outcomes)
    assert all(set(outcome) <= {"appended", "conflict"} for outcome in outcomes)
    assert sum(sum(outcome.values()) for outcome in outcomes) == 300
    with open_store(URL) as store:
        versions = [event.version for event in store.read_stream("Account-1")]
    assert versions == list(range(1, appended + 1))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.promise("one-order")
def test_a_reader_follows_several_processes_without_gap_or_reorder(count):
    writers = [start(f"Account-{writer}", 60) for writer in range(count)]
    go(writers)

    seen = []
    with open_store(URL) as store:
        while len(seen) < count * 60 and store.wait(len(seen), 20):
            seen += store.read_all(after=seen[-1].global_position if seen else 0)

    for writer in writers:
        assert finish(writer) == {"appended": 60}
    assert [event.global_position for event in seen] == list(range(1, count * 60 + 1))
    for writer in range(count):
        versions = [event.version for event in seen if event.stream == f"Account-{writer}"]
        assert versions == list(range(1, 61))


def test_processes_that_create_one_store_together_agree_on_it():
    writers = [start(f"Account-{writer}", 1) for writer in range(4)]
    go(writers)

    outcomes = [finish(writer) for writer in writers]

    assert outcomes == [{"appended": 1}] * 4
    with open_store(URL, create=False) as store:
        assert store.count_events() == 4


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.promise("one-order")
def test_a_reader_follows_processes_on_one_stream_without_gap_or_reorder(count):
    writers = [start("Account-1", 80) for _ in range(count)]
    go(writers)

    seen = []
    with open_store(URL) as store:
        while any(writer.poll() is None for writer in writers) or store.head_position() > len(seen):
            store.wait(len(seen), 0.05)
            seen += store.read_all(after=len(seen))

    outcomes = [finish(writer) for writer in writers]
    appended = sum(outcome.get("appended", 0) for outcome in outcomes)
    assert sum(sum(outcome.values()) for outcome in outcomes) == count * 80
    assert [event.global_position for event in seen] == list(range(1, appended + 1))
    assert [event.version for event in seen] == list(range(1, appended + 1))
