"""Pause, resume and set a checkpoint: durable, recorded, and checked right before acting."""

from __future__ import annotations

import threading

import pytest

from eskit.errors import InvalidArgument, ProjectionError, ProjectionFailed, ReadModelUnavailable
from tests.projections.conftest import counting, rows
from tests.projections.test_failures import failing
from tests.projections.test_following import following
from tests.support.account_events import Counted, NoteAdded
from tests.support.coded import coded

WHY = {"reason": "repairing rates", "by": "ops@bank"}


@pytest.fixture
def engine(engine_of, append, counts):
    append(*(Counted(key="a", amount=1) for _ in range(10)))
    engine = engine_of(counts)
    engine.run()
    return engine


def seen(engine) -> int:
    ((number,),) = rows(engine, "SELECT COUNT(*) FROM counts_seen")
    return number


def test_a_paused_projection_stays_where_it_is(engine, engine_of, append, counts):
    engine.pause("counts", **WHY)
    append(Counted(key="a"))

    engine_of(counts).run()

    (status,) = engine.status()
    assert (status.state, status.position, status.lag) == ("paused", 10, 1)
    assert status.pause == "repairing rates"


def test_naming_a_paused_projection_is_told_so(engine, append):
    engine.pause("counts", **WHY)
    append(Counted(key="a"))

    with pytest.raises(
        ProjectionError, check=coded("PROJECTION_PAUSED"), match="is paused: repairing rates"
    ):
        engine.run(["counts"])
    with pytest.raises(ProjectionError, check=coded("PROJECTION_PAUSED")):
        engine.catch_up(["counts"])


def test_a_resumed_projection_goes_on(engine, append):
    engine.pause("counts", **WHY)
    append(Counted(key="a"))

    engine.resume("counts", reason="done", by="ops")
    engine.run()

    assert seen(engine) == 11
    assert engine.status()[0].state == "idle"


def test_a_runner_notices_pause_and_resume(engine, append):
    with following(engine):
        append(Counted(key="a"))
        assert engine.wait_for("counts", 11, 10)
        engine.pause("counts", **WHY)
        append(Counted(key="a"))
        assert not engine.wait_for("counts", 12, 0.6)
        engine.resume("counts", reason="done", by="ops")
        assert engine.wait_for("counts", 12, 10)


def test_others_go_on_while_one_is_paused(engine_of, append, tmp_path):
    engine = engine_of(counting(tmp_path, "one"), counting(tmp_path, "two"))
    append(Counted(key="a"))
    engine.run()
    engine.pause("one", **WHY)
    append(Counted(key="a"))

    engine.run()

    assert [status.position for status in engine.status()] == [1, 2]


def test_a_rebuild_does_not_resume(engine):
    engine.pause("counts", **WHY)

    engine.rebuild("counts")

    assert engine.status()[0].state == "paused"


def test_resuming_what_is_not_paused_is_refused(engine):
    with pytest.raises(InvalidArgument, match="is not paused"):
        engine.resume("counts", **WHY)


def test_decisions_need_a_reason_and_something_to_decide_on(engine_of, engine, tmp_path):
    with pytest.raises(InvalidArgument, match="needs a reason"):
        engine.pause("counts", reason=" ", by="ops")
    fresh = engine_of(counting(tmp_path, "fresh"))
    with pytest.raises(ReadModelUnavailable, match="never run"):
        fresh.pause("fresh", **WHY)


def test_who_decided_what_when_and_why_is_kept(engine):
    engine.pause("counts", **WHY)
    engine.resume("counts", reason="done", by="night shift")
    engine.set_checkpoint("counts", 4, **WHY)

    told = [(d.action, d.detail, d.reason, d.decided_by) for d in engine.decisions("counts")]

    assert told == [
        ("pause", "at 10", "repairing rates", "ops@bank"),
        ("resume", "at 10", "done", "night shift"),
        ("set checkpoint", "10 to 4", "repairing rates", "ops@bank"),
    ]
    assert engine.decisions("counts")[0].decided_at.tzinfo is not None


def test_a_checkpoint_set_back_lets_events_be_handled_again(engine, append):
    change = engine.set_checkpoint("counts", 4, **WHY)
    engine.run()

    assert (change.before, change.after, change.again, change.skipped) == (10, 4, 6, 0)
    assert seen(engine) == 16


def test_a_checkpoint_set_forward_jumps_over_events(engine, append):
    append(Counted(key="a"), NoteAdded(), Counted(key="a"))

    change = engine.set_checkpoint("counts", 12, **WHY)
    engine.run()

    assert (change.again, change.skipped) == (0, 1)
    assert seen(engine) == 11


def test_a_dry_run_only_tells(engine):
    change = engine.set_checkpoint("counts", 0, **WHY, dry_run=True)

    assert (change.before, change.after, change.again) == (10, 0, 10)
    assert engine.status()[0].position == 10
    assert engine.decisions("counts") == []


@pytest.mark.parametrize("position", [-1, 11, 10**9])
def test_a_position_outside_the_log_is_refused(engine, position):
    with pytest.raises(InvalidArgument, match="outside the log, which ends at 10"):
        engine.set_checkpoint("counts", position, **WHY)


def test_jumping_over_the_event_that_failed_clears_the_failure(engine_of, append, tmp_path):
    engine = engine_of(failing(tmp_path, on=2))
    append(*(Counted(key="a") for _ in range(4)))
    with pytest.raises(ProjectionFailed):
        engine.run()

    engine.set_checkpoint("fragile", 2, **WHY)
    engine.run()

    assert rows(engine, "SELECT position FROM fragile_seen") == [(1,), (3,), (4,)]
    assert engine.status()[0].state == "idle"


def test_a_runner_goes_on_from_where_a_checkpoint_was_set(engine, append):
    with following(engine):
        append(Counted(key="a"))
        assert engine.wait_for("counts", 11, 10)
        engine.set_checkpoint("counts", 1, **WHY)
        append(Counted(key="a"))
        waited = threading.Event()
        for _ in range(100):
            if seen(engine) == 22 or waited.wait(0.05):
                break

    assert seen(engine) == 22
    assert engine.status()[0].position == 12
