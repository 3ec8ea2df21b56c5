"""An interrupt before any line of the writer: nobody hangs, and nothing is done twice."""

import contextlib
import linecache
import sqlite3
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from types import FrameType
from typing import Any, Self

import pytest

from eskit.clock import SystemClock
from eskit.domain.streams import ANY
from eskit.store.sqlite import appender, commits, ticket, tip, transaction, writer
from eskit.store.sqlite.store import SqliteStore
from eskit.testing.store_contract import texts

WATCHED = {module.__file__ for module in (appender, commits, ticket, tip, transaction, writer)}


class InterruptBefore:
    """Raises KeyboardInterrupt in this thread before the n-th line of the writer that is run.

    And `again`, if that is given, where Python looks for the n-th time after that whether there is
    an interrupt: when a function begins, and when one that is built in has ended.
    """

    def __init__(self, line: int, again: int = 0) -> None:
        self.left = line
        self.left_again = again

    @property
    def came(self) -> bool:
        return self.left <= 0

    @property
    def came_again(self) -> bool:
        return self.left_again <= 0

    def __enter__(self) -> Self:
        sys.settrace(self._trace)
        if not self.came_again:
            sys.setprofile(self._profile)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(None)
        sys.setprofile(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in WATCHED:
            return None
        if event in {"call", "line"} and not leaves_a_block(frame):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._trace

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if not self.came or frame.f_code.co_filename not in WATCHED:
            return
        if event in {"call", "c_return"}:
            self.left_again -= 1
            if self.came_again:
                raise KeyboardInterrupt


def leaves_a_block(frame: FrameType) -> bool:
    """A line of `with` comes up again at its end, where Python lets no interrupt in."""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    return line.lstrip().startswith("with ")


class Door(SystemClock):
    """A clock that holds who reads it while the door is shut."""

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
def door():
    return Door()


@pytest.fixture
def store(door, tmp_path):
    url = "sqlite:///log.db"
    with SqliteStore(tmp_path / "log.db", url, synchronous="NORMAL", clock=door) as store:
        yield store
        door.opened.set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def append(store, stream):
    return store.append(stream, texts("a"), expected_version=ANY).version


def called(pool, store, stream):
    """An append by a thread that waits for it."""
    return pool.submit(append, store, stream)


def left(pool, store, stream):
    """An append that no thread waits for; the one that submits it leads if nobody does."""
    told = Future()

    def then(outcome):
        told.set_result(outcome.version)

    pool.submit(store.append_then, stream, texts("a"), then, expected_version=ANY)
    return told


def wait_until_queued(store, number):
    queued = threading.Event()
    while len(store._writer._waiting) < number:
        queued.wait(0.001)


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
def test_a_second_interrupt_anywhere_after_the_first_takes_no_lead_with_it(store, pool):
    appended = 0
    for line in count(1):
        for again in count(1):
            interrupt = InterruptBefore(line, again)
            with contextlib.suppress(KeyboardInterrupt), interrupt:
                append(store, "Account-main")

            appended += 1
            assert pool.submit(append, store, "Account-other").result(20) == appended
            if not interrupt.came_again:
                break
        if not interrupt.came:
            break
    assert line > 30
    assert appended > 3 * line


@pytest.mark.promise("interrupts-are-safe")
def test_an_interrupt_anywhere_in_an_append_then_takes_no_lead_and_no_lock_with_it(
    store, pool, tmp_path, caplog
):
    elsewhere = sqlite3.connect(tmp_path / "log.db", timeout=0)
    for line in count(1):
        before = store.stream_version("Account-main")
        interrupt = InterruptBefore(line)
        told = []
        try:
            with interrupt:
                store.append_then("Account-main", texts("a"), told.append, expected_version=ANY)
        except KeyboardInterrupt:
            pass

        assert pool.submit(append, store, "Account-other").result(20) == line
        assert len(told) <= 1
        assert store.stream_version("Account-main") - before in ({1} if told else {0, 1})
        while store._writer._leader is not None:
            threading.Event().wait(0.001)
        elsewhere.execute("BEGIN IMMEDIATE")
        elsewhere.rollback()
        if not interrupt.came:
            break
    elsewhere.close()
    assert told
    assert line > 5  # it leads in another thread
    assert caplog.records == []


@pytest.mark.parametrize("start", [called, left])
@pytest.mark.promise("interrupts-are-safe")
def test_an_interrupt_anywhere_in_a_shared_commit_neither_loses_nor_repeats_the_others(
    store, door, pool, start, caplog
):
    for line in count(1):
        before = store.stream_version("Account-main")
        interrupt = InterruptBefore(line)
        door.shut()
        held = pool.submit(append, store, "Account-held")
        assert door.arrived.wait(20)
        others = []

        def arrange(others=others):
            wait_until_queued(store, 1)
            others.extend(start(pool, store, f"Account-{number}") for number in range(3))
            wait_until_queued(store, 3)
            door.opened.set()

        arranging = pool.submit(arrange)
        try:
            with interrupt:
                append(store, "Account-main")
            acknowledged = True
        except KeyboardInterrupt:
            acknowledged = False
            if not door.opened.is_set():  # it had not even queued up, and nobody waits for it
                pool.submit(append, store, "Account-instead")
        arranging.result(20)

        assert held.result(20) == line
        assert [other.result(20) for other in others] == [line] * 3
        assert append(store, "Account-after") == line
        assert store.stream_version("Account-main") - before in ({1} if acknowledged else {0, 1})
        if not interrupt.came:
            break
    assert line > 40
    positions = [event.global_position for event in store.read_all()]
    assert positions == list(range(1, len(positions) + 1))
    assert caplog.records == []  # as if something had been told twice


@pytest.mark.parametrize("start", [called, left])
@pytest.mark.promise("interrupts-are-safe")
def test_an_interrupt_anywhere_in_a_commit_that_others_join_neither_loses_nor_repeats_them(
    store, pool, start, caplog, tmp_path
):
    append(store, "Account-first")
    elsewhere = sqlite3.connect(tmp_path / "log.db", check_same_thread=False)
    for line in count(1):
        before = store.stream_version("Account-main")
        interrupt = InterruptBefore(line)
        gone = threading.Event()
        elsewhere.execute("BEGIN IMMEDIATE")
        others = []

        def arrange(others=others, gone=gone):
            while store._writer._leader is None and not gone.is_set():
                gone.wait(0.0005)
            others.extend(start(pool, store, f"Account-{number}") for number in range(3))
            wait_until_queued(store, 2)  # behind one of them if it never led
            elsewhere.rollback()

        arranging = pool.submit(arrange)
        try:
            with interrupt:
                append(store, "Account-main")
            acknowledged = True
        except KeyboardInterrupt:
            acknowledged = False
        gone.set()
        arranging.result(20)

        assert [other.result(20) for other in others] == [line] * 3
        assert append(store, "Account-after") == line
        assert store.stream_version("Account-main") - before in ({1} if acknowledged else {0, 1})
        if not interrupt.came:
            break
    elsewhere.close()
    assert line > 30
    positions = [event.global_position for event in store.read_all()]
    assert positions == list(range(1, len(positions) + 1))
    assert caplog.records == []  # as if something had been told twice


@pytest.mark.promise("interrupts-are-safe")
def test_a_store_whose_closing_was_interrupted_is_closed_by_closing_it_again(tmp_path):
    for line in count(1):
        store = SqliteStore(tmp_path / "log.db", "sqlite:///log.db")
        append(store, "Account-main")
        interrupt = InterruptBefore(line)
        with contextlib.suppress(KeyboardInterrupt), interrupt:
            store.close()

        store.close()

        assert not (tmp_path / "log.db-wal").exists()  # SQLite removes it with the last connection
        if not interrupt.came:
            break
    assert line > 5
