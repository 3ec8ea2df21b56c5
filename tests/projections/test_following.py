"""Following the log live: woken at once, stopped cleanly, one runner per projection."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from eskit import Projection
from eskit.errors import EskitError, ProjectionBusy, ProjectionFailed, ReadModelUnavailable
from eskit.files.lock import LockFile
from eskit.projections.locks import ProjectionLock
from tests.projections.conftest import counting, rows
from tests.support.account_events import Counted, NoteAdded


@contextmanager
def following(engine, **options):
    """A thread that follows until the block ends; its error is raised then."""
    stop = threading.Event()
    errors = []

    def follow():
        try:
            engine.run(once=False, stop=stop, **options)
        except EskitError as error:
            errors.append(error)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_new_events_are_handled_as_they_come(engine_of, store, append, counts):
    engine = engine_of(counts)

    with following(engine):
        for n in range(1, 6):
            append(Counted(key="a", amount=1))
            assert engine.wait_for("counts", n, timeout=10)
            assert rows(engine, "SELECT amount FROM counts") == [(n,)]


def test_an_event_between_the_last_look_and_the_wait_is_not_left_for_the_next(
    engine_of, store, append, counts, monkeypatch
):
    wait, late = store.wait, [Counted(key="late")]

    def wait_late(after: int, timeout: float) -> bool:
        if late:
            append(late.pop())
        return wait(after, timeout)

    monkeypatch.setattr(store, "wait", wait_late)
    engine = engine_of(counts)

    with following(engine):
        assert engine.wait_for("counts", 1, timeout=10)

    assert rows(engine, "SELECT key FROM counts") == [("late",)]


def test_events_of_no_interest_are_passed_as_they_come(engine_of, append, counts):
    engine = engine_of(counts)

    with following(engine):
        append(Counted(key="a"), NoteAdded(), NoteAdded())
        assert engine.wait_for("counts", 3, timeout=10)
        append(NoteAdded())
        assert engine.wait_for("counts", 4, timeout=10)


def test_a_checkpoint_that_is_set_back_while_nothing_is_to_be_done_is_gone_on_from(
    engine_of, append, counts
):
    append(*[Counted(key="a", amount=1) for _ in range(3)])
    engine = engine_of(counts)

    with following(engine):
        assert engine.wait_for("counts", 3, timeout=10)
        engine.set_checkpoint("counts", 1, reason="handled wrongly", by="ann")

        assert engine.wait_for("counts", 3, timeout=10)
        assert rows(engine, "SELECT amount FROM counts") == [(5,)]


def test_what_happened_before_comes_first(engine_of, append, counts):
    append(*(Counted(key="a") for _ in range(30)))
    engine = engine_of(counts)

    with following(engine):
        assert engine.wait_for("counts", 30, timeout=10)


def test_stop_ends_a_follower_soon_and_frees_its_lock(engine_of, append, counts):
    engine = engine_of(counts)
    with following(engine):
        append(Counted(key="a"))
        assert engine.wait_for("counts", 1, timeout=10)
        started = time.monotonic()

    assert time.monotonic() - started < 5
    assert engine.status()[0].state == "idle"
    engine.run()


def test_a_running_projection_says_so_and_who_runs_it(engine_of, append, counts):
    import os

    engine = engine_of(counts)
    with following(engine):
        append(Counted(key="a"))
        assert engine.wait_for("counts", 1, timeout=10)
        (status,) = engine.status()

    assert (status.state, status.holder.pid) == ("running", os.getpid())


def test_a_second_runner_is_refused(engine_of, append, counts):
    engine = engine_of(counts)
    with following(engine):
        append(Counted(key="a"))
        assert engine.wait_for("counts", 1, timeout=10)
        with pytest.raises(ProjectionBusy, match="is running projection 'counts'"):
            engine_of(counts).run()


def test_a_runner_of_some_leaves_the_others_to_be_run(engine_of, append, tmp_path):
    one, two = counting(tmp_path, "one"), counting(tmp_path, "two")
    append(Counted(key="a"))
    engine = engine_of(one, two)

    with following(engine, names=["one"]):
        assert engine.wait_for("one", 1, timeout=10)
        engine.run(["two"])
        with pytest.raises(ProjectionBusy):
            engine.run()

    assert [status.position for status in engine.status()] == [1, 1]


def test_a_failed_projection_leaves_the_others_following(engine_of, append, tmp_path):
    broken = Projection("broken")

    @broken.on(NoteAdded)
    def noted(event, context):
        raise ValueError("no")

    engine = engine_of(broken, counting(tmp_path))
    append(NoteAdded())

    told = []

    def go_on():
        with following(engine, progress=told.append):
            append(Counted(key="a"))
            assert engine.wait_for("counts", 2, timeout=10)
            assert [status.state for status in engine.status()] == ["failed", "running"]
            time.sleep(0.5)
            assert [type(p.error) for p in told if p.error] == [ProjectionFailed]

    with pytest.raises(ProjectionFailed, match="broken stopped before 1"):
        go_on()


def test_a_follower_ends_when_all_have_failed(engine_of, append):
    broken = Projection("broken")
    broken.on(NoteAdded)(lambda event, context: 1 / 0)
    append(NoteAdded())

    with pytest.raises(ProjectionFailed, match="ZeroDivisionError"):
        engine_of(broken).run(once=False)


def test_catching_up_waits_for_who_runs_already(engine_of, append, counts):
    append(*(Counted(key="a") for _ in range(3)))
    engine, other = engine_of(counts), engine_of(counts)

    with following(engine):
        append(Counted(key="a"))
        other.catch_up()
        assert rows(other, "SELECT COUNT(*) FROM counts_seen") == [(4,)]


def test_catching_up_runs_what_nobody_runs(engine_of, append, counts):
    append(Counted(key="a"))
    engine = engine_of(counts)

    engine.catch_up(["counts"])

    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(1,)]


def test_catching_up_from_many_threads_at_once(engine_of, append, counts):
    engine = engine_of(counts)
    errors = []

    def ask():
        try:
            for _ in range(10):
                append(Counted(key="a"))
                engine.catch_up()
        except EskitError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert errors == []
    assert rows(engine, "SELECT COUNT(*), COUNT(DISTINCT position) FROM counts_seen") == [(80, 80)]


def test_waiting_for_a_position_gives_up_in_time(engine_of, append, counts):
    engine = engine_of(counts)

    assert not engine.wait_for("counts", 1, timeout=0.05)


def test_waiting_for_a_projection_that_has_failed_raises(engine_of, append):
    broken = Projection("broken")
    broken.on(NoteAdded)(lambda event, context: 1 / 0)
    append(NoteAdded())
    engine = engine_of(broken)
    with pytest.raises(ProjectionFailed):
        engine.run()

    with pytest.raises(ProjectionFailed, match="stopped before 1"):
        engine.wait_for("broken", 1, timeout=5)


HOLDER = """
import sys, time
from pathlib import Path
from eskit.errors import ReadModelUnavailable
from eskit.files.lock import LockFile
from eskit.projections.locks import ProjectionLock
lock = LockFile(Path(sys.argv[1], "counts.run"), unavailable=ReadModelUnavailable)
ProjectionLock(lock, "counts", "run").acquire()
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.sqlite_only
def test_a_lock_is_freed_by_the_death_of_its_holder(engine_of, counts, tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "read.db-locks")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    engine = engine_of(counts)
    with pytest.raises(ProjectionBusy, match=f"Process {holder.pid} is running"):
        engine.run()

    holder.kill()
    holder.communicate()

    engine.run()


def test_asking_who_holds_a_lock_never_refuses_it_to_a_runner(tmp_path):
    def lock_of_counts():
        file = LockFile(tmp_path / "locks" / "counts.run", unavailable=ReadModelUnavailable)
        return ProjectionLock(file, "counts", "run")

    lock = lock_of_counts()
    done = threading.Event()

    def ask():
        while not done.is_set():
            lock.find_holder()

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(200):
            with lock_of_counts():
                pass
    finally:
        done.set()
        asking.join()
