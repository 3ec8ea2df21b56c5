"""A handler that hangs, and a holder that is stopped, are seen from everywhere."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from eskit import Projection
from eskit.clock import SystemClock
from eskit.errors import ReadModelUnavailable
from eskit.files.lock import LockFile
from eskit.projections.engine import ProjectionEngine
from eskit.projections.locks import lock_of
from eskit.projections.opening import open_read_models
from tests.projections.conftest import until
from tests.projections.test_following import following
from tests.support.account_events import Counted

CHECKOUT = Path(__file__).parents[2]


class Hanging:
    """A projection whose handler waits until it is let go."""

    def __init__(self) -> None:
        self.hangs, self.go_on = threading.Event(), threading.Event()
        self.projection = Projection("mails")
        self.projection.on(Counted)(self.hang_here)

    def hang_here(self, _event, _context) -> None:
        self.hangs.set()
        assert self.go_on.wait(30)


@pytest.fixture
def hanging() -> Hanging:
    return Hanging()


@contextmanager
def following_a_hanging(engine, hanging: Hanging):
    with following(engine):
        try:
            assert hanging.hangs.wait(30)
            yield
        finally:
            hanging.go_on.set()
            assert engine.wait_for("mails", 1, timeout=30)


@pytest.mark.promise("failures-are-visible")
@pytest.mark.promise("hangs-are-visible")
def test_a_handler_that_hangs_is_seen_by_another_process_with_its_event_and_stack(
    engine_of, append, hanging, caplog
):
    caplog.set_level(logging.WARNING, logger="eskit.slow")
    append(Counted(key="a"))
    engine, elsewhere = engine_of(hanging.projection, slow_after=0.1), engine_of(hanging.projection)

    with following_a_hanging(engine, hanging):
        until(lambda: elsewhere.status()[0].error)
        (status,) = elsewhere.status()
        (call,) = engine.slow_calls()
    until(lambda: not engine.slow_calls())
    (after,) = elsewhere.status()

    what = "The handler of mails for 1 eskit.tests.ledger.v1.Counted of Account-1"
    assert (status.state, status.running, status.holder.pid) == ("running", True, os.getpid())
    assert status.error.startswith(f"{what} has been running for ")
    assert status.hint == "See where it is: eskit project status mails"
    assert "hang_here" in status.stack
    assert call.what == what
    assert [record.getMessage()[: len(what)] for record in caplog.records] == [what, what]
    assert after.error == ""


def test_a_handler_within_the_bound_is_not_reported(engine_of, append, hanging):
    append(Counted(key="a"))
    engine = engine_of(hanging.projection, slow_after=3_600)

    with following_a_hanging(engine, hanging):
        (status,) = engine.status()

    assert (status.state, status.error, engine.slow_calls()) == ("running", "", [])


class LaterClock(SystemClock):
    """The same clock, so many seconds later."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @property
    def now(self):
        return super().now + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        return super().monotonic() + self._seconds


@pytest.fixture
def looking(store, read_models, hanging):
    """Engines that look at the same projections, later."""
    engines = []

    def look(seconds: float) -> ProjectionEngine:
        clock = LaterClock(seconds)
        engines.append(ProjectionEngine(store, [hanging.projection], read_models, clock=clock))
        return engines[-1]

    yield look
    for engine in engines:
        engine.close()


@pytest.mark.promise("hangs-are-visible")
def test_a_holder_that_gives_no_sign_of_life_is_seen(engine_of, append, hanging, looking):
    """As after kill -STOP: it has its lock, and tells nothing any more."""
    engine = engine_of(hanging.projection)
    hanging.go_on.set()
    append(Counted(key="a"))
    with following(engine):
        assert engine.wait_for("mails", 1, timeout=30)
        lock = lock_of(engine._models, "mails", "run")
        until(lambda: lock.find_holder().beat)
        (soon,), (late,) = looking(5).status(), looking(60).status()

    pid = os.getpid()
    assert soon.error == ""
    assert late.error.startswith(f"process {pid} runs it and has given no sign of life for ")
    assert f"kill -CONT {pid}" in late.hint
    assert (late.state, late.running) == ("running", True)


@pytest.mark.promise("hangs-are-visible")
def test_a_rebuild_that_hangs_is_seen_by_another_process(engine_of, append, hanging):
    append(Counted(key="a"))
    engine, elsewhere = engine_of(hanging.projection, slow_after=0.1), engine_of(hanging.projection)
    rebuilding = threading.Thread(target=engine.rebuild, args=("mails",))

    rebuilding.start()
    try:
        assert hanging.hangs.wait(30)
        until(lambda: elsewhere.status()[0].error)
        (status,) = elsewhere.status()
    finally:
        hanging.go_on.set()
        rebuilding.join(30)
    (after,) = elsewhere.status()

    what = "The handler of mails for 1 eskit.tests.ledger.v1.Counted of Account-1"
    assert (status.state, status.running, status.holder.pid) == ("rebuilding", False, os.getpid())
    assert status.error.startswith(f"{what} has been running for ")
    assert "hang_here" in status.stack
    assert (after.state, after.error) == ("idle", "")


@pytest.mark.sqlite_only
@pytest.mark.promise("hangs-are-visible")
def test_a_holder_that_waits_for_a_read_model_gives_signs_of_life(
    engine_of, append, hanging, read_models
):
    path = Path(read_models.removeprefix("sqlite:///"))
    engine = engine_of(hanging.projection)
    hanging.go_on.set()
    append(Counted(key="a"))
    with following(engine):
        assert engine.wait_for("mails", 1, timeout=30)
        path.rename(path.with_name("away.db"))
        append(Counted(key="b"))
        lock = lock_of(open_read_models(read_models), "mails", "run")
        until(lambda: lock.find_holder().waiting_for)
        first = lock.find_holder().beat
        until(lambda: lock.find_holder().beat > first)
        path.with_name("away.db").rename(path)


@pytest.mark.sqlite_only
@pytest.mark.promise("hangs-are-visible")
def test_a_process_that_was_stopped_is_seen_until_it_goes_on(store, read_models, append):
    """After a real SIGSTOP, by the clock that both share."""
    append(Counted(key="a"))
    command = [sys.executable, "-m", "tests.support.processes.staying", store.url, read_models]
    with subprocess.Popen(command, cwd=CHECKOUT) as process:
        engine = ProjectionEngine(store, [Projection("mails")], read_models)
        try:
            until(lambda: engine.status()[0].running, within=30)
            before = engine.status()[0].error
            process.send_signal(signal.SIGSTOP)
            until(lambda: engine.status()[0].error, within=60)
            stopped = engine.status()[0]
            process.send_signal(signal.SIGCONT)
            until(lambda: not engine.status()[0].error, within=30)
        finally:
            process.kill()
            engine.close()

    assert before == ""
    assert (stopped.state, stopped.holder.pid) == ("running", process.pid)
    assert "has given no sign of life for" in stopped.error
    assert f"kill -CONT {process.pid}" in stopped.hint


def test_a_holder_that_watches_nothing_is_not_taken_for_dead(engine_of, append, hanging, looking):
    engine = engine_of(hanging.projection, slow_after=None)
    append(Counted(key="a"))

    with following_a_hanging(engine, hanging):
        (late,) = looking(60).status()

    assert late.error == ""


def test_a_stack_that_is_too_long_for_the_note_of_the_holder_is_left_out(tmp_path):
    from eskit.projections.locks import ProjectionLock
    from eskit.slow import SlowCall

    file = LockFile(tmp_path / "mails.run", unavailable=ReadModelUnavailable)
    lock = ProjectionLock(file, "mails", "run")
    with lock:
        slow = SlowCall(what="w", since=SystemClock().now, stack="\u2603" * 10_000)
        lock.tell(rate=1.0, waiting_for="", slow=slow, beats=True)
        noted = lock.find_holder()
        lock.tell(rate=1.0, waiting_for="", slow=replace(slow, stack="short"), beats=True)
        shorter = lock.find_holder()

    assert (noted.slow, noted.stack) == ("w", "")
    assert (shorter.slow, shorter.stack) == ("w", "short")
