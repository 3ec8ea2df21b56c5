"""Appends that nobody waits for: told of once, after their commit, and no caller's burden."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from eskit.clock import SystemClock
from eskit.domain.commands import AppendResult
from eskit.domain.streams import ANY
from eskit.errors import StoreUnavailable, VersionConflict
from eskit.store.sqlite.store import SqliteStore
from eskit.store.sqlite.ticket import Ticket
from eskit.testing.store_contract import Told, texts


class Gate(SystemClock):
    """A clock that holds the append that reads it while the gate is shut."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()
        self.opened.set()

    def microseconds(self) -> int:
        self.arrived.set()
        assert self.opened.wait(20)
        return super().microseconds()

    def shut(self) -> None:
        self.arrived.clear()
        self.opened.clear()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def store(gate: Gate, tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "log.db", "sqlite:///log.db", clock=gate) as store:
        yield store
        gate.opened.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8, thread_name_prefix="caller") as pool:
        yield pool


def append_then(store: SqliteStore, stream: str, *events: Any, expected: Any = ANY) -> Told:
    told = Told()
    store.append_then(stream, events or texts("a"), told, expected_version=expected)
    return told


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def statements_of(store: SqliteStore) -> list[str]:
    """The statements that the writer runs from now on."""
    statements: list[str] = []
    assert store._writer._committer._transaction is not None
    store._writer._committer._transaction._connection.set_trace_callback(statements.append)
    return statements


def holding(store: SqliteStore, gate: Gate, pool: ThreadPoolExecutor) -> Future[AppendResult]:
    """An append of a caller that waits, which holds the writer until the gate opens."""
    gate.shut()
    held = pool.submit(store.append, "Account-held", texts("a"), expected_version=ANY)
    assert gate.arrived.wait(20)
    return held


def test_one_thread_can_have_many_under_way_that_share_a_commit(
    store: SqliteStore, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    held = holding(store, gate, pool)
    many = [append_then(store, "Account-1") for _ in range(50)]
    stale = append_then(store, "Account-1", expected=7)
    assert not any(told.outcomes for told in (*many, stale))
    statements = statements_of(store)

    gate.opened.set()

    assert [told.version() for told in many] == list(range(1, 51))
    assert isinstance(stale.wait(), VersionConflict)
    assert held.result(20).version == 1
    assert statements.count("COMMIT") == 2
    until(lambda: store._writer._leader is None)
    assert [len(told.outcomes) for told in (*many, stale)] == [1] * 51


@pytest.mark.promise("asynchronous-appends-are-answered-once")
def test_a_caller_that_led_goes_on_with_its_result(
    store: SqliteStore, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    held = holding(store, gate, pool)
    leading = pool.submit(store.append, "Account-1", texts("a"), expected_version=ANY)
    until(lambda: len(store._writer._waiting) == 1)
    left = append_then(store, "Account-2")
    statements = statements_of(store)

    gate.opened.set()

    assert held.result(20).version == 1
    assert leading.result(20).version == 1
    assert left.version() == 1
    assert left.thread == "eskit-writer"
    until(lambda: store._writer._leader is None)
    assert statements.count("COMMIT") == 2


def test_who_comes_to_succeed_when_another_does_already_does_not_lead(
    store: SqliteStore, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    held = holding(store, gate, pool)
    leader = store._writer._leader

    store._writer._succeed(Ticket(lambda _transaction, _request, *, again: again))

    assert store._writer._leader is leader
    gate.opened.set()
    assert held.result(20).version == 1


def test_who_waits_is_given_the_lead_by_who_does_not(
    store: SqliteStore, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    gate.shut()
    leading = pool.submit(append_then, store, "Account-1")
    assert gate.arrived.wait(20)
    waits = pool.submit(store.append, "Account-2", texts("a"), expected_version=ANY)
    until(lambda: len(store._writer._waiting) == 1)
    left = append_then(store, "Account-3")

    gate.opened.set()

    assert leading.result(20).version() == 1
    assert waits.result(20).version == 1
    assert left.version() == 1
    until(lambda: store._writer._leader is None)
    assert store.append("Account-4", texts("a"), expected_version=ANY).version == 1


@pytest.mark.promise("asynchronous-appends-are-answered-once")
def test_closing_waits_until_all_is_told_and_a_closed_store_takes_no_more(
    store: SqliteStore, gate: Gate, pool: ThreadPoolExecutor
) -> None:
    held = holding(store, gate, pool)
    left = [append_then(store, f"Account-{number}") for number in range(5)]
    closing = pool.submit(store.close)
    until(lambda: store._writer._closed)
    gate.opened.set()

    closing.result(20)
    assert held.result(20).version == 1
    assert [told.outcomes for told in left] == [
        [AppendResult(version=1, global_position=position)] for position in range(2, 7)
    ]
    told = Told()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.append_then("Account-9", texts("a"), told, expected_version=ANY)
    assert told.outcomes == []


def test_threads_of_both_kinds_together_lose_nothing_and_nobody_hangs(
    store: SqliteStore, pool: ThreadPoolExecutor
) -> None:
    def leave(number: int) -> list[Told]:
        return [append_then(store, f"Account-{number}") for _ in range(100)]

    def wait(number: int) -> int:
        for _ in range(100):
            result = store.append(f"Account-{number}", texts("a"), expected_version=ANY)
        return result.version

    leaving = [pool.submit(leave, number) for number in range(4)]
    waiting = [pool.submit(wait, number) for number in range(4, 8)]

    assert [future.result(60) for future in waiting] == [100] * 4
    for future in leaving:
        assert [told.version() for told in future.result(60)] == list(range(1, 101))
    assert [event.global_position for event in store.read_all()] == list(range(1, 801))
