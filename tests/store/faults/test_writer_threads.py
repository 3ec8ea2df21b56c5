"""What may end a thread that commits: the threads beside it go on, and nothing is lost."""

import contextlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eskit.domain.streams import ANY
from eskit.errors import StoreUnavailable
from eskit.operations.verifying import verify
from eskit.store.open import open_store
from eskit.testing.store_contract import texts

OUT_OF_MEMORY = Path(__file__).with_name("out_of_memory.py")


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/log.db?synchronous=normal"


def append(store, stream):
    return store.append(stream, texts("a"), expected_version=ANY).version


def deep(depth, call):
    return deep(depth - 1, call) if depth else call()


@pytest.mark.promise("interrupts-are-safe")
def test_a_caller_whose_stack_ends_takes_nobody_with_it(url):
    limit = sys.getrecursionlimit()
    stop = threading.Event()

    def others(number):
        appended = 0
        while not stop.is_set():
            appended = append(store, f"Account-{number}")
        return appended

    def nested(depth):
        with contextlib.suppress(RecursionError):
            return deep(depth, lambda: append(store, "Account-nested"))

    def left(depth):
        with contextlib.suppress(RecursionError):
            submitted = deep(
                depth, lambda: store.submit("Account-left", texts("a"), expected_version=ANY)
            )
            return submitted.result(20).version

    with ThreadPoolExecutor(5) as pool, open_store(url) as store:
        beside = [pool.submit(others, number) for number in range(4)]
        done = [
            pool.submit(call, depth).result(20)
            for depth in [*range(limit - 60, limit - 5)] * 2
            for call in (nested, left)
        ]
        stop.set()

        assert all(other.result(20) > 0 for other in beside)
        assert None in done
        assert max(version or 0 for version in done) > 1
        assert append(store, "Account-after") == 1
        assert verify(store).verdict == "ok"


@pytest.mark.promise("errors-are-not-shared")
def test_a_batch_that_runs_out_of_memory_is_told_so_and_changes_nothing(url):
    program = subprocess.run(
        [sys.executable, str(OUT_OF_MEMORY), url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert program.stderr == ""
    assert set(program.stdout.split()) == {StoreUnavailable.__name__}
    assert len(program.stdout.split()) == 11
    with open_store(url) as store:
        assert store.count_events() == 1
        assert verify(store).verdict == "ok"
