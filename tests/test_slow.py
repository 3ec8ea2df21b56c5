"""A call that hangs is named, logged once with its stack, and forgotten when it is over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from eskit.clock import SystemClock
from eskit.slow import SlowCalls


class Waiting:
    """A call in a thread of its own that lasts until it is let go."""

    def __init__(self) -> None:
        self.arrived, self.go_on = threading.Event(), threading.Event()

    def hang_here(self) -> None:
        self.arrived.set()
        self.go_on.wait(30)


@contextmanager
def hanging(calls: SlowCalls, what: str) -> Iterator[Waiting]:
    waiting = Waiting()

    def work() -> None:
        with calls.watching(lambda: what):
            waiting.hang_here()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert waiting.arrived.wait(30)
        yield waiting
    finally:
        waiting.go_on.set()
        thread.join(30)
        assert not thread.is_alive()


class SteppedClock(SystemClock):
    """Time passes only while somebody sleeps, and a sleep ends when the test takes a step."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.steps = threading.Semaphore(0)
        self.looks = threading.Semaphore(0)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert self.steps.acquire(timeout=30)
        self.seconds += seconds

    def let_look(self, times: int = 1) -> None:
        """Let the watching thread look so often; return when it has."""
        for _ in range(times):
            self.steps.release()
            assert self.looks.acquire(timeout=30)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def calls(clock) -> Iterator[SlowCalls]:
    """Calls are slow after 4 s, and looked at every second."""
    yield SlowCalls(after=4.0, clock=clock, on_tick=clock.looks.release)
    clock.steps.release()  # nothing is in hand any more: the thread that watches ends


@pytest.fixture
def logged(caplog):
    caplog.set_level(logging.WARNING, logger="eskit.slow")
    return caplog


def test_a_call_that_hangs_is_found_with_the_stack_it_hangs_in(calls, clock):
    with hanging(calls, "mail on 31"):
        clock.let_look(3)
        before = calls.find()
        clock.let_look()
        (found,) = calls.find()

    assert before == []
    assert found.what == "mail on 31"
    assert "hang_here" in found.stack
    assert calls.find() == []


def test_a_call_that_hangs_is_logged_once_and_again_when_it_is_over(calls, clock, logged):
    with hanging(calls, "mail on 31"):
        clock.let_look(9)

    warned, over = (record.getMessage() for record in logged.records)
    assert warned.startswith("mail on 31 has been running for 4 s. It is here:\n")
    assert "hang_here" in warned
    assert over.startswith("mail on 31 is over after")


def test_many_short_calls_of_one_block_are_not_slow_together(calls, clock, logged):
    done = []

    with calls.watching(lambda: "all", at=lambda: len(done)):
        for _ in range(5):
            clock.let_look(3)
            done.append("one")

    assert calls.find() == []
    assert logged.records == []


def test_one_slow_call_among_many_is_over_when_the_next_begins(calls, clock):
    at = [1]

    with calls.watching(lambda: f"event {at[0]}", at=lambda: at[0]):
        clock.let_look(4)
        (slow,) = calls.find()
        at[0] = 2
        clock.let_look()
        after = calls.find()

    assert slow.what == "event 1"
    assert after == []


def test_without_a_bound_nothing_is_watched():
    asked = []
    calls = SlowCalls(after=None, on_tick=lambda: asked.append("tick"))

    with calls.watching(lambda: "all", at=lambda: asked.append("at")):
        pass

    assert asked == []


def test_the_thread_ends_when_nothing_is_in_hand_and_begins_anew(calls, clock):
    others = set(threading.enumerate())
    for _ in range(2):
        with hanging(calls, "mail on 31"):
            clock.let_look(4)
            assert len(calls.find()) == 1
        (watching,) = set(threading.enumerate()) - others

        clock.steps.release()
        watching.join(30)

        assert not watching.is_alive()
