"""Whoever follows takes over what others let go of, and goes on when somebody has decided."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from eskit.errors import EskitError, RebuildNeeded
from eskit.projections.engine import ProjectionEngine
from eskit.projections.policy import FailurePolicy
from tests.projections.conftest import counting, rows, until
from tests.support.account_events import Counted, NoteAdded

CHECKOUT = Path(__file__).parents[2]
COUNTED = Counted.DESCRIPTOR.full_name


class Running:
    """A follower in a thread that stays, and what it was told of its projections."""

    def __init__(self, engine: ProjectionEngine) -> None:
        self.engine = engine
        self.stop = threading.Event()
        self.stopped: list[str] = []
        self.stands_by_for: list[int] = []
        self.thread = threading.Thread(target=self._follow)

    def _follow(self) -> None:
        self.engine.run_each(once=False, stay=True, stop=self.stop, progress=self._note)

    def _note(self, progress) -> None:
        if progress.error is not None:
            self.stopped.append(progress.error.message)
        if progress.holder is not None:
            self.stands_by_for.append(progress.holder.pid)


@contextmanager
def staying(engine: ProjectionEngine):
    running = Running(engine)
    running.thread.start()
    try:
        yield running
    finally:
        running.stop.set()
        running.thread.join(30)
        assert not running.thread.is_alive()


class Fragile:
    """Counts, and raises on some keys until they are mended."""

    def __init__(self, folder: Path, *, version: int = 1) -> None:
        self.broken = {"bad"}
        self.tried = 0
        self.projection = counting(folder, "fragile", version=version)
        self.projection.on_failure = FailurePolicy(retries=1, first_wait=0.01)
        self._handle = self.projection.handlers[COUNTED]
        self.projection.handlers[COUNTED] = self

    def __call__(self, event, context) -> None:
        self._handle(event, context)
        if event.key in self.broken:
            self.tried += 1
            raise ValueError("not yet")


@pytest.fixture
def fragile(tmp_path) -> Fragile:
    return Fragile(tmp_path)


def keys(engine) -> list[str]:
    return sorted(key for (key,) in rows(engine, "SELECT key FROM fragile"))


@pytest.mark.promise("projections-fail-over")
def test_a_second_follower_stands_by_and_takes_over_when_the_first_ends(engine_of, append, counts):
    first, second = engine_of(counts), engine_of(counts)

    with staying(first) as ending:
        append(Counted(key="a"))
        assert first.wait_for("counts", 1, timeout=30)
        with staying(second) as standing_by:
            until(lambda: standing_by.stands_by_for)
            ending.stop.set()
            ending.thread.join(30)
            append(Counted(key="a"))
            assert second.wait_for("counts", 2, timeout=30)

    assert rows(second, "SELECT position FROM counts_seen") == [(1,), (2,)]


FOLLOWING = """
import sys
from pathlib import Path
from eskit import open_store
from eskit.projections.engine import ProjectionEngine
from tests.projections.conftest import counting
with open_store(sys.argv[1]) as store:
    ProjectionEngine(store, [counting(Path(sys.argv[3]))], sys.argv[2]).run(once=False)
"""


@pytest.mark.promise("projections-fail-over")
def test_a_follower_takes_over_from_a_process_that_was_killed(
    engine_of, store, read_models, append, counts, tmp_path
):
    process = subprocess.Popen(
        [sys.executable, "-c", FOLLOWING, store.url, read_models, str(tmp_path)], cwd=CHECKOUT
    )
    engine = engine_of(counts)
    append(Counted(key="a"))
    assert engine.wait_for("counts", 1, timeout=30)

    with staying(engine) as running:
        until(lambda: running.stands_by_for)
        named = engine.status()[0].holder.pid
        process.kill()
        process.wait(30)
        append(Counted(key="a"))
        assert engine.wait_for("counts", 2, timeout=30)

    assert running.stands_by_for == [process.pid]
    assert named == process.pid
    assert rows(engine, "SELECT position FROM counts_seen") == [(1,), (2,)]


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.promise("projections-fail-over")
def test_a_follower_goes_on_when_the_event_before_which_it_stopped_is_skipped(
    engine_of, append, counts, fragile, others
):
    append(Counted(key="a"), Counted(key="bad"), Counted(key="b"))
    engine = engine_of(fragile.projection, *([counts] if others else []))

    with staying(engine) as running:
        until(lambda: running.stopped)
        before = next(s for s in engine.status() if s.name == "fragile")
        letter = engine.load_dead_letter("fragile", "2")
        engine.skip_event(letter, reason="nobody needs it", by="ops")
        assert engine.wait_for("fragile", 3, timeout=30)
        append(Counted(key="c"))
        assert engine.wait_for("fragile", 4, timeout=30)
        after = next(s for s in engine.status() if s.name == "fragile")

    assert (before.state, before.running) == ("failed", False)
    assert (after.state, after.running) == ("running", True)
    assert keys(engine) == ["a", "b", "c"]


def test_a_follower_goes_on_after_somebody_else_has_tried_again(engine_of, append, fragile):
    append(Counted(key="a"), Counted(key="bad"), Counted(key="b"))
    engine, other = engine_of(fragile.projection), engine_of(fragile.projection)

    with staying(engine) as running:
        until(lambda: running.stopped)
        fragile.broken.clear()
        other.run()
        append(Counted(key="c"))
        assert engine.wait_for("fragile", 4, timeout=30)

    assert keys(engine) == ["a", "b", "bad", "c"]


def test_a_follower_goes_on_after_a_rebuild_that_it_needed(engine_of, append, tmp_path):
    append(Counted(key="a"))
    engine_of(counting(tmp_path, "fragile")).run()
    newer = engine_of(counting(tmp_path, "fragile", version=2))

    with staying(newer) as running:
        until(lambda: running.stopped)
        newer.rebuild("fragile")
        append(Counted(key="b"))
        assert newer.wait_for("fragile", 2, timeout=30)

    assert "made by version 1" in running.stopped[0]
    assert keys(newer) == ["a", "b"]


@pytest.mark.promise("projections-fail-over")
def test_followers_of_old_and_new_code_hand_a_projection_over_at_its_rebuild(
    engine_of, append, tmp_path
):
    append(Counted(key="a"))
    older = engine_of(counting(tmp_path, "fragile"))
    newer = engine_of(counting(tmp_path, "fragile", version=2))

    with staying(older) as old:
        assert older.wait_for("fragile", 1, timeout=30)
        with staying(newer) as new:
            until(lambda: new.stands_by_for)
            newer.rebuild("fragile")
            append(Counted(key="b"))
            assert newer.wait_for("fragile", 2, timeout=30)
            until(lambda: old.stopped)

    assert "was rebuilt as version 2" in old.stopped[0]
    assert keys(newer) == ["a", "b"]


@pytest.mark.sqlite_only
def test_two_followers_that_both_fail_try_once_each_and_then_rest(engine_of, append, tmp_path):
    one, two = Fragile(tmp_path), Fragile(tmp_path)
    append(Counted(key="bad"))

    with staying(engine_of(one.projection)) as first:
        until(lambda: first.stopped)
        with staying(engine_of(two.projection)) as second:
            until(lambda: second.stopped)
            tried = one.tried, two.tried
            # Both have looked at what stopped them by then, and seen nothing new.
            append(Counted(key="a"))
            looks = engine_of(counting(tmp_path, "looks"))
            with staying(looks):
                assert looks.wait_for("looks", 2, timeout=30)
        assert (one.tried, two.tried) == tried

    assert len(first.stopped) == 1


def test_a_run_that_ends_is_refused_what_another_process_runs(engine_of, append, counts):
    engine = engine_of(counts)
    append(Counted(key="a"))

    with staying(engine):
        assert engine.wait_for("counts", 1, timeout=30)
        with pytest.raises(EskitError, match="is running projection 'counts'") as refused:
            engine_of(counts).run()

    assert refused.value.hint == "It handles new events by itself: eskit project status counts"


def test_a_follower_that_is_not_to_stay_ends_when_all_have_stopped(engine_of, append, fragile):
    append(Counted(key="bad"))

    (report,) = engine_of(fragile.projection).run_each(once=False)

    assert report.error is not None


@pytest.mark.promise("failures-are-visible")
def test_events_that_wait_while_nobody_runs_a_projection_are_seen(engine_of, append, counts):
    append(Counted(key="a"), NoteAdded())
    engine = engine_of(counts)

    (before,) = engine.status()
    with staying(engine):
        assert engine.wait_for("counts", 2, timeout=30)
        (meanwhile,) = engine.status()
    (after,) = engine.status()

    assert (before.abandoned, before.running, before.lag) == (True, False, 1)
    assert (meanwhile.abandoned, meanwhile.running) == (False, True)
    assert (after.abandoned, after.running) == (False, False)


def test_a_projection_without_a_rebuild_stays_stopped(engine_of, append, tmp_path):
    append(Counted(key="a"))
    engine_of(counting(tmp_path, "fragile")).run()
    newer = engine_of(counting(tmp_path, "fragile", version=2))

    (report,) = newer.run_each(once=False)

    assert isinstance(report.error, RebuildNeeded)
