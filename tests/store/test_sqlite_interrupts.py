"""An interrupt before any line of the writer: nobody hangs, and nothing is done twice."""

import contextlib
import linecache
import sqlite3
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import FrameType
from typing import Any, Self

import pytest

from eskit.domain.streams import ANY
from eskit.store import write, writer
from eskit.store.sqlite import append_cache, appender, commits, transaction
from eskit.testing.store_contract import texts
from tests.support.stores import sqlite_store
from tests.support.writing import Gate

WATCHED = {
    module.__file__ for module in (append_cache, appender, commits, transaction, write, writer)
}


class InterruptBefore:
    """Raises KeyboardInterrupt in this thread before the n-th line of the writer that is run."""

    def __init__(self, line: int) -> None:
        self.left = line

    @property
    def came(self) -> bool:
        return self.left <= 0

    def __enter__(self) -> Self:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event in {"call", "line"} and not leaves_a_block(frame):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._trace


def leaves_a_block(frame: FrameType) -> bool:
    """A line of `with` comes up again at its end, where Python lets no interrupt in."""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    return line.lstrip().startswith("with ")


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def store(gate, tmp_path):
    url = "sqlite:///log.db"
    with sqlite_store(tmp_path / "log.db", url, synchronous="NORMAL", clock=gate) as store:
        yield store
        gate.opened.set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def append(store, stream):
    return store.append(stream, texts("a"), expected_version=ANY).version


def called(pool, store, stream):
    """An append by a thread that waits for it."""
    return pool.submit(store.append, stream, texts("a"), expected_version=ANY)


def submitted(_pool, store, stream):
    """An append that no thread waits for."""
    return store.submit(stream, texts("a"), expected_version=ANY)


@pytest.mark.promise("interrupts-are-safe")
def test_an_interrupt_anywhere_in_an_append_takes_no_lead_and_no_lock_with_it(
    store, pool, tmp_path
):
    elsewhere = sqlite3.connect(tmp_path / "log.db", timeout=0)
    for line in count(1):
        before = store.stream_version("Account-main")
        interrupt = InterruptBefore(line)
        try:
            with interrupt:
                acknowledged = append(store, "Account-main")
        except KeyboardInterrupt:
            acknowledged = 0

        elsewhere.execute("BEGIN IMMEDIATE")
        elsewhere.rollback()
        assert pool.submit(append, store, "Account-other").result(20) == line
        assert store.stream_version("Account-main") in {before + 1, acknowledged or before}
        if not interrupt.came:
            break
    elsewhere.close()
    assert line > 30


@pytest.mark.promise("interrupts-are-safe")
def test_an_interrupt_anywhere_in_a_submit_takes_no_lead_and_no_lock_with_it(
    store, pool, tmp_path, caplog
):
    elsewhere = sqlite3.connect(tmp_path / "log.db", timeout=0)
    for line in count(1):
        before = store.stream_version("Account-main")
        interrupt = InterruptBefore(line)
        answer = None
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            answer = store.submit("Account-main", texts("a"), expected_version=ANY)

        appended = None if answer is None else answer.result(20).version
        assert pool.submit(append, store, "Account-other").result(20) == line
        assert store.stream_version("Account-main") in {before + 1, appended or before}
        elsewhere.execute("BEGIN IMMEDIATE")
        elsewhere.rollback()
        if not interrupt.came:
            break
    elsewhere.close()
    assert appended
    assert line > 10
    assert caplog.records == []


@pytest.mark.parametrize("start", [called, submitted])
@pytest.mark.promise("interrupts-are-safe")
def test_an_interrupt_anywhere_in_a_commit_neither_loses_nor_repeats_what_waits_behind_it(
    store, gate, pool, start, caplog
):
    for line in count(1):
        before = store.stream_version("Account-main")
        others = []

        def arrange(others=others):
            others.extend(start(pool, store, f"Account-{number}") for number in range(3))
            if start is called:
                gate.wait_for_callers(3)

        gate.once = lambda arrange=arrange: pool.submit(arrange).result(20)
        interrupt = InterruptBefore(line)
        try:
            with interrupt:
                append(store, "Account-main")
            acknowledged = True
        except KeyboardInterrupt:
            acknowledged = False
        gate.once = None
        if not others:  # it has not come so far
            others.extend(start(pool, store, f"Account-{number}") for number in range(3))

        assert [other.result(20).version for other in others] == [line] * 3
        assert append(store, "Account-after") == line
        assert store.stream_version("Account-main") - before in ({1} if acknowledged else {0, 1})
        if not interrupt.came:
            break
    assert line > 30
    positions = [event.global_position for event in store.read_all()]
    assert positions == list(range(1, len(positions) + 1))
    assert caplog.records == []


@pytest.mark.parametrize("start", [called, submitted])
@pytest.mark.promise("interrupts-are-safe")
def test_an_interrupt_anywhere_in_an_append_that_waits_neither_loses_nor_repeats_the_others(
    store, gate, pool, start, caplog
):
    for line in count(1):
        before = store.stream_version("Account-main")
        interrupt, ended = InterruptBefore(line), threading.Event()
        gate.shut()
        held = pool.submit(append, store, "Account-held")
        assert gate.arrived.wait(20)
        others = [start(pool, store, f"Account-{number}") for number in range(3)]
        callers = 1 + (3 if start is called else 0)

        def arrange(ended=ended, callers=callers):
            gate.wait_for_callers(callers, unless=ended.is_set)
            gate.opened.set()

        arranging = pool.submit(arrange)
        try:
            with interrupt:
                append(store, "Account-main")
            acknowledged = True
        except KeyboardInterrupt:
            acknowledged = False
        ended.set()
        arranging.result(20)

        assert held.result(20) == line
        assert [other.result(20).version for other in others] == [line] * 3
        assert append(store, "Account-after") == line
        assert store.stream_version("Account-main") - before in ({1} if acknowledged else {0, 1})
        if not interrupt.came:
            break
    assert line > 15
    positions = [event.global_position for event in store.read_all()]
    assert positions == list(range(1, len(positions) + 1))
    assert caplog.records == []


@pytest.mark.promise("interrupts-are-safe")
def test_a_store_whose_closing_was_interrupted_is_closed_by_closing_it_again(tmp_path):
    for line in count(1):
        store = sqlite_store(tmp_path / "log.db", "sqlite:///log.db")
        append(store, "Account-main")
        interrupt = InterruptBefore(line)
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            store.close()

        store.close()

        assert not (tmp_path / "log.db-wal").exists()  # SQLite removes it with the last connection
        if not interrupt.came:
            break
    assert line > 5
