"""Whatever fails, however often, and whatever the clock does: no event is passed over.

The rows are compared with a plain fold over the events.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eskit import ANY, NewEvent, Projection, open_store
from eskit.clock import SystemClock
from eskit.projections.engine import ProjectionEngine
from eskit.projections.following import BatchLimits, Following
from eskit.projections.policy import FailurePolicy
from eskit.projections.records import EventPosition
from eskit.projections.stretch import CheckpointJumped, Stretch
from tests.projections.conftest import counting, execute, rows
from tests.support.account_events import Counted, NoteAdded

FOR_EVER = 10**9
COUNTED, NOTED = Counted.DESCRIPTOR.full_name, NoteAdded.DESCRIPTOR.full_name
MESSAGES = {COUNTED: Counted(key="a"), NOTED: NoteAdded(text="n")}


class JumpingClock(SystemClock):
    """Time jumps ahead at every look at it, by something between nothing and seconds."""

    def __init__(self, seed: int, jumps: list[float]) -> None:
        self._random, self._jumps, self._seconds = random.Random(seed), jumps, 0.0

    def monotonic(self) -> float:
        self._seconds += self._random.choice(self._jumps)
        return self._seconds

    def sleep(self, seconds: float) -> None:
        self._seconds += seconds

    def wait(self, event, timeout=None) -> bool:
        self._seconds += timeout or 0.0
        return event.is_set()


@dataclass(frozen=True)
class Plan:
    """A projection: what it handles, what it does about failures, how often each event fails."""

    wants: frozenset[str]
    policy: FailurePolicy
    fails: dict[int, int]


policies = st.builds(
    FailurePolicy,
    then=st.sampled_from(["stop", "set_aside_event", "set_aside_stream"]),
    retries=st.integers(0, 3),
    first_wait=st.sampled_from([0.0, 0.001, 0.05, 3.0]),
)
plans = st.builds(
    Plan,
    wants=st.sampled_from([frozenset({COUNTED}), frozenset({NOTED}), frozenset({COUNTED, NOTED})]),
    policy=policies,
    fails=st.dictionaries(st.integers(1, 24), st.sampled_from([1, 2, 3, FOR_EVER]), max_size=4),
)
logs = st.lists(
    st.tuples(st.sampled_from([COUNTED, NOTED]), st.integers(1, 3)), min_size=1, max_size=24
)


def failing(name: str, plan: Plan) -> Projection:
    projection = Projection(name, on_failure=plan.policy)
    left = dict(plan.fails)

    def handle(_event, context) -> None:
        position = context.event.global_position
        context.db.execute(f"CREATE TABLE IF NOT EXISTS {name} (position INTEGER)")
        execute(context.db, f"INSERT INTO {name} VALUES (?)", position)  # noqa: S608
        if left.get(position, 0) > 0:
            left[position] -= 1
            raise ValueError(position)

    for event_type in plan.wants:
        projection.on(type(MESSAGES[event_type]))(handle)
    return projection


def handled_by(engine: ProjectionEngine, name: str) -> list[int]:
    if not rows(engine, f"SELECT 1 FROM sqlite_master WHERE name = '{name}'"):  # noqa: S608
        return []
    return [p for (p,) in rows(engine, f"SELECT position FROM {name} ORDER BY rowid")]  # noqa: S608


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    log=logs,
    planned=st.lists(plans, min_size=1, max_size=3),
    size=st.integers(1, 26),
    jumps=st.sampled_from([[0.0], [0.0, 0.0, 0.04], [0.0, 0.001, 1.0, 5.0]]),
    seed=st.integers(0, 2**16),
)
@pytest.mark.promise("no-event-is-missed")
def test_every_event_up_to_a_checkpoint_is_in_the_rows_or_set_aside(
    log, planned, size, jumps, seed
):
    named = {f"p{number}": plan for number, plan in enumerate(planned)}
    with open_store("memory://") as store:
        for event_type, stream in log:
            event = NewEvent(MESSAGES[event_type])
            store.append(f"Account-{stream}", [event], expected_version=ANY)
        clock = JumpingClock(seed, jumps)
        projections = [failing(name, plan) for name, plan in named.items()]
        engine = ProjectionEngine(store, projections, "memory://", clock=clock)

        engine.run_each(limits=BatchLimits(events=size))

        for status in engine.status():
            plan = named[status.name]
            wanted = [p for p, (event_type, _) in enumerate(log, 1) if event_type in plan.wants]
            letters = {letter.position: letter for letter in engine.dead_letters(status.name)}
            aside = {p for p, letter in letters.items() if letter.state != "stopped"}
            passed = [p for p in wanted if p <= status.position]
            assert handled_by(engine, status.name) == [p for p in passed if p not in aside]
            assert aside <= set(passed)
            failed = {p for p, letter in letters.items() if letter.state == "failed"}
            assert failed <= {p for p, times in plan.fails.items() if times}
            held = {log[p - 1][1] for p in failed} if plan.policy.then != "set_aside_event" else ()
            assert all(log[p - 1][1] in held for p in aside - failed)
            if status.failures:
                (failure,) = status.failures
                assert failure.position == next(p for p in wanted if p > status.position)
                assert plan.fails[failure.position]
                assert plan.policy.then == "stop"
            else:
                assert status.position == len(log)
        engine.close()


def test_a_retry_that_falls_due_in_the_middle_of_a_batch_begins_with_the_event_that_failed(
    engine_of, append, counts, tmp_path
):
    """The clock says that the pause is over while others are still handling the batch."""
    append(*(Counted(key="a", amount=1) for _ in range(600)))
    fragile = counting(tmp_path, "fragile")
    handle = fragile.handlers[COUNTED]

    def fail(event, context) -> None:
        handle(event, context)
        if context.event.global_position == 300:
            raise KeyError("eur")

    fragile.handlers[COUNTED] = fail
    engine = engine_of(counts, fragile, clock=JumpingClock(0, [0.004]))

    reports = engine.run_each(limits=BatchLimits(seconds=1_000))

    assert [str(report.error or "") for report in reports] == [
        "",
        "fragile stopped before 300 eskit.tests.ledger.v1.Counted of Account-1: KeyError: 'eur'",
    ]
    assert rows(engine, "SELECT COUNT(*), MAX(position) FROM fragile_seen") == [(299, 299)]
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(600,)]


@pytest.mark.promise("no-event-is-missed")
def test_a_checkpoint_that_would_jump_stops_the_projection_and_moves_nothing(
    engine_of, append, counts, tmp_path, monkeypatch
):
    """A loop with a mistake: it hands over a batch that was read after a later event."""
    append(*(Counted(key="a", amount=1) for _ in range(4)))
    handle = Following.handle

    def mistaken(following, group, stretch) -> None:
        (second, *left), [run, *others] = stretch.events[1:], group
        handle(following, others, stretch)
        start = EventPosition(second[0], "of the second")
        handle(following, [run], Stretch(start=start, events=left, end=stretch.end))

    monkeypatch.setattr(Following, "handle", mistaken)
    engine = engine_of(counts, counting(tmp_path, "others"))

    first, second = engine.run_each()

    assert isinstance(first.error, CheckpointJumped)
    assert second.error is None
    status, other = engine.status()
    assert (status.state, status.position) == ("failed", 0)
    assert "would have passed 2 to 4" in status.failures[0].error
    assert (other.state, other.position) == ("idle", 4)
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(0,)]
    monkeypatch.undo()
    assert engine.run_each()[0].error is None
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(4,)]
