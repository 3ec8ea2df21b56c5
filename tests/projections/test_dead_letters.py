"""Events that fail are retried, set aside or skipped as was declared and decided, never lost."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from eskit import Projection
from eskit.errors import InvalidArgument, ProjectionBusy, ProjectionFailed, ServiceError
from eskit.projections import bookkeeping, dead_letters
from eskit.projections.policy import FailurePolicy
from eskit.runtime.projecting import ProjectionWatch
from tests.projections.conftest import execute, rows, until
from tests.projections.test_following import following
from tests.support.account_events import Counted

WHY = {"reason": "ticket 7", "by": "ops@bank"}
QUICK = {"retries": 1, "first_wait": 0.01}
BROKEN = "broken"


@pytest.fixture
def keeping(tmp_path):
    """A projection that keeps (position, stream, key) and raises on keys in `bad`."""

    def make(then: str = "stop", *, bad=(BROKEN,), name="kept", **policy) -> Projection:
        folder = tmp_path / f"migrations-{name}"
        folder.mkdir(exist_ok=True)
        (folder / "1_kept.sql").write_text(
            "CREATE TABLE kept (number INTEGER PRIMARY KEY, position INTEGER UNIQUE, key TEXT);"
        )
        chosen = FailurePolicy(then=then, **{**QUICK, **policy})
        projection = Projection(name, migrations=folder, on_failure=chosen)

        @projection.on(Counted)
        def counted(event, context):
            execute(
                context.db,
                "INSERT INTO kept SELECT COALESCE(MAX(number), 0) + 1, ?, ? FROM kept",
                context.event.global_position,
                event.key,
            )
            if event.key in bad:
                raise ValueError(f"cannot read {event.key}")

        return projection

    return make


@pytest.fixture
def log(append):
    """1 and 3 and 5 of stream A, 2 and 4 of stream B; 3 is broken."""
    append(Counted(key="a1"), stream="A-1")
    append(Counted(key="b1"), stream="B-1")
    append(Counted(key=BROKEN), stream="A-1")
    append(Counted(key="b2"), stream="B-1")
    append(Counted(key="a3"), stream="A-1")


def handled(engine) -> list[int]:
    return [position for (position,) in rows(engine, "SELECT position FROM kept ORDER BY number")]


def test_one_event_is_set_aside_and_the_rest_handled(engine_of, keeping, log):
    engine = engine_of(keeping("set_aside_event"))

    (report,) = engine.run()

    (letter,) = engine.dead_letters("kept")
    assert handled(engine) == [1, 2, 4, 5]
    assert (report.set_aside, report.position) == (1, 5)
    assert (letter.state, letter.position, letter.stream) == ("failed", 3, "A-1")
    assert (letter.error, letter.attempts) == ("ValueError: cannot read broken", 2)
    assert "raise ValueError" in letter.traceback


@pytest.mark.promise("dead-letters-are-durable")
def test_a_whole_stream_is_set_aside_from_the_failing_event_on(engine_of, keeping, log, append):
    engine = engine_of(keeping("set_aside_stream"))
    engine.run()

    append(Counted(key="a4"), stream="A-1")
    append(Counted(key="b3"), stream="B-1")
    engine.run()

    states = [(letter.position, letter.state) for letter in engine.dead_letters("kept")]
    assert handled(engine) == [1, 2, 4, 7]
    assert states == [(3, "failed"), (5, "waiting"), (6, "waiting")]


@pytest.mark.parametrize("then", ["set_aside_event", "set_aside_stream", "stop"])
@pytest.mark.promise("dead-letters-are-durable")
def test_status_is_never_ok_while_something_failed_or_waits(engine_of, keeping, log, then):
    engine = engine_of(keeping(then))
    try:
        engine.run()
    except ProjectionFailed:
        assert then == "stop"

    (status,) = engine.status()

    assert status.state == "failed"
    assert status.error


def test_a_runner_is_not_healthy_while_something_is_set_aside(engine_of, keeping, log):
    engine = engine_of(keeping("set_aside_event"))
    engine.run()
    watch = ProjectionWatch(engine, tell=print, on_stop=print, on_waiting=print)

    with pytest.raises(ServiceError, match="1 dead letter"):
        watch.check()

    engine.skip_event(engine.dead_letters(engine.status()[0].name)[0], reason="why", by="me")
    watch.check()


def test_a_runner_is_not_healthy_while_a_handler_is_tried_again(engine_of, keeping, log):
    projection = keeping(retries=1, first_wait=3_600)
    runner = engine_of(projection)
    watch = ProjectionWatch(runner, tell=print, on_stop=print, on_waiting=print)
    stop = threading.Event()
    following = threading.Thread(target=lambda: runner.run_each(once=False, stop=stop))
    following.start()
    try:
        until(lambda: runner.status()[0].failures)
        with pytest.raises(ServiceError, match="trying again before"):
            watch.check()
    finally:
        stop.set()
        following.join(30)


@pytest.mark.promise("dead-letters-are-durable")
def test_failure_recorded_durably_before_the_cursor_advances(engine_of, keeping, log, monkeypatch):
    engine = engine_of(keeping("set_aside_event"))
    saved = []
    advance = bookkeeping.advance

    def watched(model, name, *, before, after, now):
        if after.position >= 3 and not bookkeeping.find_dead_letters(model, name):
            saved.append("passed without a letter")
        advance(model, name, before=before, after=after, now=now)

    monkeypatch.setattr(bookkeeping, "advance", watched)
    engine.run()

    # The batch of all five is tried first and undone before it moves anything.
    assert saved == []
    assert engine.status()[0].position == 5


def test_an_event_is_tried_again_with_growing_waits_then_the_projection_stops(
    engine_of, keeping, log
):
    tried = []
    projection = keeping(retries=3, first_wait=0.02)
    handle = projection.handlers.pop("eskit.tests.ledger.v1.Counted")

    @projection.on(Counted)
    def counted(event, context):
        if event.key == BROKEN:
            tried.append(time.monotonic())
        handle(event, context)

    engine = engine_of(projection)
    with pytest.raises(ProjectionFailed, match="stopped before 3"):
        engine.run()

    # The first two are the batch and the event alone, at once.
    waits = [after - before for before, after in itertools.pairwise(tried)]
    assert len(tried) == 5
    assert waits[1] >= 0.02
    assert waits[2] >= 0.04
    assert waits[3] >= 0.08
    assert handled(engine) == [1, 2]


@pytest.mark.sqlite_only
def test_others_are_not_held_up_by_a_projection_that_tries_again(engine_of, keeping, log, counts):
    engine = engine_of(keeping(retries=5, first_wait=0.4), counts)
    start = time.monotonic()

    with following(engine):
        assert engine.wait_for("counts", 5, timeout=5)
        passed = time.monotonic() - start

    assert passed < 1.0


def test_retry_handles_the_event_after_later_ones(engine_of, keeping, log):
    engine_of(keeping("set_aside_event")).run()
    mended = engine_of(keeping("set_aside_event", bad=()))

    report = mended.retry_dead_letter(mended.load_dead_letter("kept", "3"), **WHY)

    assert (report.handled, report.left) == (1, 0)
    assert handled(mended) == [1, 2, 4, 5, 3]
    assert mended.status()[0].state == "idle"


def test_retry_handles_what_waits_behind_in_order(engine_of, keeping, log, append):
    engine_of(keeping("set_aside_stream")).run()
    mended = engine_of(keeping("set_aside_stream", bad=()))

    report = mended.retry_dead_letter(mended.load_dead_letter("kept", "3"), **WHY)
    append(Counted(key="a4"), stream="A-1")
    mended.run()

    assert report.handled == 2
    assert handled(mended) == [1, 2, 4, 3, 5, 6]


def test_retry_of_an_event_behind_another_is_refused(engine_of, keeping, log):
    engine = engine_of(keeping("set_aside_stream"))
    engine.run()

    with pytest.raises(InvalidArgument, match="is blocked by 3"):
        engine.retry_dead_letter(engine.load_dead_letter("kept", "5"), **WHY)

    assert handled(engine) == [1, 2, 4]


def test_a_retry_that_fails_again_keeps_the_letter(engine_of, keeping, log):
    engine = engine_of(keeping("set_aside_event"))
    engine.run()

    with pytest.raises(ProjectionFailed, match="failed again on 3"):
        engine.retry_dead_letter(engine.load_dead_letter("kept", "3"), **WHY)

    (letter,) = engine.dead_letters("kept")
    assert letter.attempts == 3
    assert handled(engine) == [1, 2, 4, 5]
    assert engine.status()[0].state == "failed"


@pytest.mark.promise("decisions-are-checked")
def test_dead_letter_retry_re_reads_the_status_right_before_acting(engine_of, keeping, log):
    engine_of(keeping("set_aside_event")).run()
    mended = engine_of(keeping("set_aside_event", bad=()))
    shown = mended.load_dead_letter("kept", "3")
    mended.retry_dead_letter(shown, **WHY)

    for act in (mended.retry_dead_letter, mended.skip_event):
        with pytest.raises(ProjectionBusy, match="has changed since it was looked at"):
            act(shown, **WHY)

    assert handled(mended) == [1, 2, 4, 5, 3]
    assert mended.skips("kept") == []


def test_skip_lets_a_stopped_projection_go_on_without_the_event(engine_of, keeping, log):
    engine = engine_of(keeping())
    with pytest.raises(ProjectionFailed):
        engine.run()

    engine.skip_event(engine.load_dead_letter("kept", "3"), **WHY)
    engine.run()

    assert handled(engine) == [1, 2, 4, 5]
    assert engine.status()[0].state == "idle"
    assert engine.status()[0].skipped == 1


@pytest.mark.promise("decisions-are-checked")
def test_skip_is_honoured_and_listed_by_rebuild_and_diff(engine_of, keeping, log, append):
    engine = engine_of(keeping())
    with pytest.raises(ProjectionFailed):
        engine.run()
    with pytest.raises(ProjectionFailed):
        engine.rebuild("kept")
    engine.skip_event(engine.load_dead_letter("kept", "3"), **WHY)
    engine.run()

    report = engine.rebuild("kept")
    difference = engine.diff("kept")

    assert handled(engine) == [1, 2, 4, 5]
    assert report.skipped == 1
    assert difference.equal
    assert difference.passed_over == (3,)
    (skip,) = engine.skips("kept")
    assert (skip.position, skip.reason, skip.decided_by) == (3, "ticket 7", "ops@bank")


def test_diff_leaves_out_what_is_set_aside(engine_of, keeping, log):
    engine = engine_of(keeping("set_aside_stream"))
    engine.run()

    difference = engine.diff("kept")

    assert difference.equal
    assert difference.passed_over == (3, 5)


def test_a_rebuild_handles_what_was_set_aside_and_stops_if_it_still_fails(engine_of, keeping, log):
    engine = engine_of(keeping("set_aside_event"))
    engine.run()
    with pytest.raises(ProjectionFailed, match="rebuild of kept stopped before 3"):
        engine.rebuild("kept")
    assert handled(engine) == [1, 2, 4, 5]

    mended = engine_of(keeping("set_aside_event", bad=()))
    mended.rebuild("kept")

    assert handled(mended) == [1, 2, 3, 4, 5]
    assert mended.dead_letters("kept") == []


def test_an_event_that_also_stopped_a_rebuild_waits_once_and_is_retried(engine_of, keeping, log):
    engine = engine_of(keeping("set_aside_event"))
    engine.run()
    with pytest.raises(ProjectionFailed):
        engine.rebuild("kept")
    mended = engine_of(keeping("set_aside_event", bad=()))

    listed = mended.dead_letters("kept")
    mended.retry_dead_letter(mended.load_dead_letter("kept", "3"), reason="mended", by="ann")

    assert [(letter.position, letter.state) for letter in listed] == [(3, "failed")]
    assert sorted(handled(mended)) == [1, 2, 3, 4, 5]


def test_an_event_that_stopped_run_and_rebuild_waits_once(engine_of, keeping, log):
    engine = engine_of(keeping("stop"))
    for work in (engine.run, lambda: engine.rebuild("kept")):
        with pytest.raises(ProjectionFailed):
            work()

    (letter,) = engine.dead_letters("kept")
    engine.skip_event(letter, reason="test data", by="ann")

    assert (letter.position, letter.state) == (3, "stopped")
    assert engine.status()[0].failures == ()


def test_an_event_that_cannot_be_decoded_can_be_skipped(engine_of, keeping, store, append, log):
    from eskit import ANY, NewEvent

    engine = engine_of(keeping(bad=()))
    event = NewEvent(Counted(key="x"))
    object.__setattr__(event, "data", b"\xff\xff")
    store.append("A-1", [event], expected_version=ANY)
    append(Counted(key="a5"))
    with pytest.raises(ProjectionFailed, match="stopped before 6"):
        engine.run()

    engine.skip_event(engine.load_dead_letter("kept", "6"), **WHY)
    engine.run()

    assert handled(engine) == [1, 2, 3, 4, 5, 7]


def test_who_decided_what_when_and_why_is_kept(engine_of, keeping, log):
    engine_of(keeping("set_aside_stream")).run()
    mended = engine_of(keeping("set_aside_stream", bad=()))
    mended.skip_event(mended.load_dead_letter("kept", "3"), **WHY)
    mended.retry_dead_letter(mended.load_dead_letter("kept", "5"), **WHY)

    told = [(d.action, d.detail, d.reason, d.decided_by) for d in mended.decisions("kept")]

    event = "eskit.tests.ledger.v1.Counted of A-1"
    assert told == [
        ("skip", f"3 {event}", "ticket 7", "ops@bank"),
        ("retry", f"5 {event}", "ticket 7", "ops@bank"),
    ]


def test_a_runner_that_goes_on_honours_what_is_decided_meanwhile(engine_of, keeping, log, append):
    engine = engine_of(keeping("set_aside_stream"))

    with following(engine):
        assert engine.wait_for("kept", 5, timeout=5)
        engine.skip_event(engine.load_dead_letter("kept", "3"), **WHY)
        engine.retry_dead_letter(engine.load_dead_letter("kept", "5"), **WHY)
        append(Counted(key="a4"), stream="A-1")
        assert engine.wait_for("kept", 6, timeout=5)

    assert handled(engine) == [1, 2, 4, 5, 6]


@pytest.mark.parametrize("then", ["stop", "set_aside_event", "set_aside_stream"])
def test_a_skip_that_is_decided_while_the_last_try_fails_is_honoured(
    engine_of, keeping, log, append, then
):
    class Told:
        """Text that is asked for when the handler has failed, before that is kept."""

        def __str__(self) -> str:
            for letter in engine.dead_letters("kept"):
                engine.skip_event(letter, **WHY)
            return "told"

    projection = keeping(then, bad=())
    keep = projection.handlers[Counted.DESCRIPTOR.full_name]

    def fail(event, context):
        keep(event, context)
        if event.key == BROKEN:
            raise ValueError(Told())

    projection.handlers[Counted.DESCRIPTOR.full_name] = fail
    engine = engine_of(projection)

    engine.run()

    assert handled(engine) == [1, 2, 4, 5]
    assert engine.dead_letters("kept") == []
    assert [skip.position for skip in engine.skips("kept")] == [3]


def test_a_checkpoint_set_back_handles_what_was_set_aside_again(engine_of, keeping, log):
    engine_of(keeping("set_aside_event")).run()
    mended = engine_of(keeping("set_aside_event", bad=()))
    mended.set_checkpoint("kept", 2, **WHY)

    assert mended.dead_letters("kept") == []


def test_an_event_that_only_stopped_a_rebuild_is_decided_about_as_such(engine_of, keeping, log):
    engine_of(keeping(bad=())).run()
    engine = engine_of(keeping())
    with pytest.raises(ProjectionFailed):
        engine.rebuild("kept")

    (letter,) = engine.dead_letters("kept")
    with pytest.raises(InvalidArgument) as refused:
        engine.retry_dead_letter(letter, reason="again", by="ops")
    (before,) = engine.status()
    engine.skip_event(letter, reason="never", by="ops")

    assert letter.state == "rebuild stopped"
    assert refused.value.hint == "Rebuild it again: eskit project rebuild kept"
    assert (before.state, before.error, before.position) == ("idle", "", 5)
    assert engine.rebuild("kept").skipped == 1
    assert engine.status()[0].failures == ()


def test_a_skip_while_a_retry_runs_and_fails_stays_on_record(engine_of, keeping, log, monkeypatch):
    engine, other = engine_of(keeping("set_aside_event")), engine_of(keeping("set_aside_event"))
    engine.run()
    (letter,) = engine.dead_letters("kept")
    skipping = []

    def skip_meanwhile() -> None:
        other.skip_event(letter, reason="nobody needs it", by="ann")

    def slow(_event, _context) -> None:
        skipping.append(threading.Thread(target=skip_meanwhile))
        skipping[0].start()
        raise ValueError("still not")

    projection = keeping("set_aside_event", bad=())
    projection.handlers["eskit.tests.ledger.v1.Counted"] = slow
    retrying = engine_of(projection)
    keep_failed = dead_letters._keep_failed

    def keep_after_the_skip(*args, **options) -> None:
        skipping[0].join(30)
        keep_failed(*args, **options)

    monkeypatch.setattr(dead_letters, "_keep_failed", keep_after_the_skip)
    with pytest.raises(ProjectionBusy) as raised:
        retrying.retry_dead_letter(letter, reason="again", by="bob")

    assert "ValueError: still not" in raised.value.message
    assert "ann has decided so: skip" in raised.value.message
    assert engine.dead_letters("kept") == []
    assert [skip.position for skip in engine.skips("kept")] == [3]
    assert [(d.decided_by, d.action) for d in engine.decisions("kept")] == [
        ("ann", "skip"),
        ("bob", "retry failed"),
    ]


def test_a_policy_that_cannot_work_is_refused():
    with pytest.raises(InvalidArgument, match="ignore"):
        FailurePolicy(then="ignore")
    with pytest.raises(InvalidArgument, match="must not be negative"):
        FailurePolicy(retries=-1)
