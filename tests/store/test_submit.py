"""Appends that nobody waits for: answered once, after their commit, and no caller's burden."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any

import pytest

from eskit.clock import Thread
from eskit.domain.commands import AppendResult
from eskit.domain.streams import ANY
from eskit.errors import StoreUnavailable, VersionConflict
from eskit.store.eventstore import EventStore
from eskit.store.open import open_store
from eskit.testing.store_contract import texts
from tests.support.stores import sqlite_store
from tests.support.writing import Gate, connections_that_write, until


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The connections that write."""
    return connections_that_write(monkeypatch)


@pytest.fixture
def store(gate: Gate, writing: list[Any], tmp_path: Path) -> Iterator[EventStore]:
    with sqlite_store(tmp_path / "log.db", "sqlite:///log.db", clock=gate) as store:
        yield store
        gate.opened.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8, thread_name_prefix="caller") as pool:
        yield pool


def submit(store: EventStore, stream: str, expected: Any = ANY) -> Future[AppendResult]:
    return store.submit(stream, texts("a"), expected_version=expected)


def versions(submitted: list[Future[AppendResult]]) -> list[int]:
    return [one.result(20).version for one in submitted]


def holding(store: EventStore, gate: Gate, pool: ThreadPoolExecutor) -> Future[AppendResult]:
    """An append of a caller that waits, which holds the writer until the gate opens."""
    gate.shut()
    held = pool.submit(store.append, "Account-held", texts("a"), expected_version=ANY)
    assert gate.arrived.wait(20)
    return held


def test_one_thread_can_have_many_under_way_that_share_a_commit(
    store: EventStore, gate: Gate, pool: ThreadPoolExecutor, writing: list[Any]
) -> None:
    held = holding(store, gate, pool)
    many = [submit(store, "Account-1") for _ in range(50)]
    stale = submit(store, "Account-1", expected=7)
    assert not any(submitted.done() for submitted in (*many, stale))
    statements: list[str] = []
    writing[-1].set_trace_callback(statements.append)

    gate.opened.set()

    assert versions(many) == list(range(1, 51))
    assert isinstance(stale.exception(20), VersionConflict)
    assert held.result(20).version == 1
    assert statements.count("COMMIT") == 2


@pytest.mark.promise("asynchronous-appends-are-answered-once")
def test_a_caller_that_waits_goes_on_while_others_are_told(
    store: EventStore, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    told = threading.Event()
    held = holding(store, gate, pool)
    waits = pool.submit(store.append, "Account-1", texts("a"), expected_version=ANY)
    gate.wait_for_callers(1)
    submitted = submit(store, "Account-2")
    submitted.add_done_callback(lambda _: told.wait(20))

    gate.opened.set()

    assert held.result(20).version == 1
    assert waits.result(20).version == 1
    told.set()
    assert submitted.result(20).version == 1


@pytest.mark.promise("asynchronous-appends-are-answered-once")
def test_closing_waits_until_all_is_told_and_a_closed_store_takes_no_more(
    store: EventStore, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    told: list[int] = []
    held = holding(store, gate, pool)
    left = [submit(store, f"Account-{number}") for number in range(5)]
    for one in left:
        one.add_done_callback(lambda done: told.append(done.result().global_position))
    closing = pool.submit(store.close)
    until(lambda: refuses(store))
    gate.opened.set()

    closing.result(20)

    assert held.result(20).version == 1
    assert told == list(range(2, 7))
    with pytest.raises(StoreUnavailable, match="closed"):
        submit(store, "Account-9")


def refuses(store: EventStore) -> bool:
    try:
        store.head_position()
    except StoreUnavailable:
        return True
    return False


def test_what_is_cancelled_before_its_turn_is_not_appended(
    store: EventStore, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    holding(store, gate, pool)
    first, second, third = (submit(store, f"Account-{number}") for number in range(3))

    assert second.cancel()
    gate.opened.set()

    assert versions([first, third]) == [1, 1]
    assert not third.cancel()
    assert store.stream_version("Account-1") == 0


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_a_callback_that_would_end_the_thread_that_calls_it_is_logged(
    store: EventStore,
    gate: Gate,
    pool: ThreadPoolExecutor,
    error: type[BaseException],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_submitted: Future[AppendResult]) -> None:
        raise error("nobody takes it")

    holding(store, gate, pool)
    submit(store, "Account-1").add_done_callback(fail)
    behind = submit(store, "Account-2")
    gate.opened.set()

    assert behind.result(20).version == 1
    assert submit(store, "Account-1").result(20).version == 2
    assert "nobody takes it" in caplog.text


def test_a_callback_that_closes_the_store_has_all_others_told_first(
    store: EventStore, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    appended: list[int] = []

    def append_and_close(_submitted: Future[AppendResult]) -> None:
        appended.append(store.append("Account-1", texts("b"), expected_version=1).version)
        store.close()
        appended.append(behind.result(0).version)

    held = holding(store, gate, pool)
    submit(store, "Account-1").add_done_callback(append_and_close)
    behind = submit(store, "Account-2")
    waits = pool.submit(store.append, "Account-3", texts("a"), expected_version=ANY)
    gate.wait_for_callers(1)
    gate.opened.set()

    assert [held.result(20).version, waits.result(20).version] == [1, 1]
    store.close()
    with open_store("sqlite:///log.db") as again:
        assert again.stream_version("Account-1") == 2
    assert appended == [2, 1]


class NoThreads(Gate):
    """A machine on which no thread can be started."""

    def start(self, *_: Any, **__: Any) -> Thread:
        raise RuntimeError("can't start new thread")


def test_where_no_thread_can_be_started_callers_commit_by_themselves(tmp_path: Path) -> None:
    gate = NoThreads()
    with (
        ThreadPoolExecutor(4) as pool,
        sqlite_store(tmp_path / "log.db", "sqlite:///log.db", clock=gate) as store,
    ):
        held = holding(store, gate, pool)
        waits = pool.submit(store.append, "Account-1", texts("a"), expected_version=ANY)
        left = pool.submit(submit, store, "Account-2")
        gate.opened.set()

        assert [held.result(20).version, waits.result(20).version] == [1, 1]
        assert left.result(20).result(0).version == 1


PROGRAM = """
import sys
from google.protobuf.wrappers_pb2 import StringValue
from eskit import ANY, NewEvent, open_store
store = open_store("sqlite:///log.db")
for _ in range(300):
    store.submit("Account-1", [NewEvent(StringValue(value="a"))], expected_version=ANY)
"""


def test_a_program_that_ends_without_closing_has_appended_all(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    with open_store(f"sqlite:///{tmp_path}/log.db") as store:
        assert store.count_events() == 300


def test_an_idle_store_has_no_thread(store: EventStore) -> None:
    assert submit(store, "Account-1").result(20).version == 1

    until(lambda: all(thread.name != "eskit-writer" for thread in threading.enumerate()))

    assert submit(store, "Account-1").result(20).version == 2


def test_threads_of_both_kinds_together_lose_nothing_and_nobody_hangs(
    store: EventStore, pool: ThreadPoolExecutor
) -> None:
    def leave(number: int) -> list[Future[AppendResult]]:
        return [submit(store, f"Account-{number}") for _ in range(100)]

    def wait(number: int) -> int:
        for _ in range(100):
            result = store.append(f"Account-{number}", texts("a"), expected_version=ANY)
        return result.version

    leaving = [pool.submit(leave, number) for number in range(4)]
    waiting = [pool.submit(wait, number) for number in range(4, 8)]

    assert [future.result(60) for future in waiting] == [100] * 4
    for future in leaving:
        submitted = future.result(60)
        wait_for(submitted, 60)
        assert versions(submitted) == list(range(1, 101))
    assert [event.global_position for event in store.read_all()] == list(range(1, 801))
