"""Where projections stand: position, lag, and what stopped them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from eskit.clock import Clock
from eskit.domain.upcasting import Upcasters
from eskit.errors import CheckpointMismatch, MigrationInvalid, RebuildNeeded
from eskit.processes.holding import Holder
from eskit.projections import bookkeeping
from eskit.projections.checkpoints import check_checkpoint
from eskit.projections.handling import find_handlers
from eskit.projections.locks import lock_of
from eskit.projections.log import EventLog
from eskit.projections.port import ReadModels
from eskit.projections.preparing import check
from eskit.projections.projection import Projection
from eskit.projections.records import Effect, Failure, Phase, ProjectionDeadLetter, ProjectionState
from eskit.text.quantities import count

State: TypeAlias = Literal["idle", "running", "rebuilding", "paused", "failed"]

_STOPPED: Mapping[Phase, str] = {
    "run": "stopped",
    "retry": "trying again",
    "rebuild": "rebuild stopped",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionStatus:
    """One projection at a glance.

    `lag` counts the events it handles that lie after `position`, `behind_seconds` is the age of
    the oldest of them. `error` is empty while nothing is wrong, `hint` what helps against it;
    `failures` has the events that stopped it, with tracebacks. `set_aside` counts the dead letters,
    `skipped` the events that are never handled because somebody has decided so. `rebuild_position`
    is how far a rebuild has come, running or interrupted, `pause` why it was paused. `holder` is
    the process that runs or rebuilds it, `running` whether one runs it, `rate` how many events a
    second that has just handled, `waiting_for` what keeps it from running now, `slow` the call
    that it has been in for too long, with its `stack`. `version` is that of the code.
    """

    name: str
    state: State
    position: int
    head: int
    lag: int
    error: str
    version: int
    behind_seconds: float
    updated_at: datetime | None
    failures: tuple[Failure, ...]
    set_aside: int
    skipped: int
    rebuild_position: int | None
    pause: str
    holder: Holder | None
    rate: float
    waiting_for: str
    running: bool
    hint: str
    slow: str
    stack: str

    @property
    def abandoned(self) -> bool:
        """Whether events wait for it and no process runs it."""
        return self.state == "idle" and not self.running and self.lag > 0


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why a projection is not well, what helps, and whether it stands still."""

    error: str
    hint: str
    failed: bool = True


def load_status(
    log: EventLog,
    models: ReadModels[Any],
    projection: Projection[Any],
    upcasters: Upcasters,
    clock: Clock,
) -> ProjectionStatus:
    """Look a projection up; creates nothing and waits for nothing."""
    state = bookkeeping.find_state(models, projection.name)
    failures = tuple(bookkeeping.find_failures(models, projection.name))
    letters = bookkeeping.find_dead_letters(models, projection.name)
    running = lock_of(models, projection.name, "run").find_holder()
    rebuilding = lock_of(models, projection.name, "rebuild").find_holder()
    position = state.checkpoint.position if state else 0
    types = tuple(sorted(find_handlers(projection, upcasters)))
    problem = (
        _find_hung(projection.name, "runs", running, clock)
        or _find_hung(projection.name, "rebuilds", rebuilding, clock)
        or _find_failure(failures, running)
        or _find_mismatch(log, models, projection, state)
        or _find_waiting(
            projection.name, letters, bookkeeping.find_effects(models, projection.name), running
        )
    )
    doing: State = "idle"
    if rebuilding:
        doing = "rebuilding"
    elif problem and problem.failed:
        doing = "failed"
    elif state and state.pause is not None:
        doing = "paused"
    elif running:
        doing = "running"
    holder = rebuilding or running
    slow = next((one for one in (running, rebuilding) if one and one.slow), None)
    return ProjectionStatus(
        name=projection.name,
        state=doing,
        position=position,
        head=log.head_position(),
        lag=log.count_events(after=position, event_types=types) if types else 0,
        error=problem.error if problem else "",
        version=projection.version,
        behind_seconds=_age_of_next(log, types, position, clock.now),
        updated_at=state.updated_at if state else None,
        failures=failures,
        set_aside=len(letters),
        skipped=len(bookkeeping.find_skips(models, projection.name)),
        rebuild_position=bookkeeping.find_rebuild_position(models, projection.name),
        pause=(state.pause or "") if state else "",
        holder=holder,
        rate=running.rate if running else 0.0,
        waiting_for=running.waiting_for if running else "",
        running=running is not None,
        hint=problem.hint if problem else "",
        slow=slow.slow if slow else "",
        stack=slow.stack if slow else "",
    )


def find_problem(log: EventLog, models: ReadModels[Any], projection: Projection[Any]) -> str:
    """Why a projection is not well by what is stored of it; empty if it is. Counts nothing."""
    name = projection.name
    running = lock_of(models, name, "run").find_holder()
    problem = (
        _find_failure(bookkeeping.find_failures(models, name), running)
        or _find_mismatch(log, models, projection, bookkeeping.find_state(models, name))
        or _find_waiting(
            name,
            bookkeeping.find_dead_letters(models, name),
            bookkeeping.find_effects(models, name),
            running,
        )
    )
    return problem.error if problem else ""


def _find_hung(name: str, does: str, holder: Holder | None, clock: Clock) -> _Problem | None:
    """What keeps the process that runs or rebuilds it from working."""
    if holder is None:
        return None
    if silent := holder.silent_seconds(clock.monotonic()):
        return _Problem(
            f"{holder.text} {does} it and has given no sign of life for {silent:,.0f} s",
            f"Is it stopped? Resume it: kill -CONT {holder.pid}. Or end it: kill -9 {holder.pid}",
            failed=False,
        )
    if holder.slow:
        seconds = clock.now.timestamp() - holder.slow_since
        return _Problem(
            f"{holder.slow} has been running for {seconds:,.0f} s in {holder.text}",
            f"See where it is: eskit project status {name}",
            failed=False,
        )
    if holder.waiting_for:
        return _Problem(f"waiting: {holder.waiting_for}", "Wait: it resumes automatically.")
    return None


def _find_failure(failures: Sequence[Failure], running: Holder | None) -> _Problem | None:
    """The event that it stands before; one that only stopped a rebuild leaves the rows right."""
    for failure in failures:
        if failure.phase == "rebuild":
            continue
        again = f"Try again: eskit project run --once {failure.projection}"
        return _Problem(
            f"{_STOPPED[failure.phase]} before {failure.position:,}: {failure.error}",
            "It tries again by itself." if running and failure.phase == "retry" else again,
        )
    return None


def _find_mismatch(
    log: EventLog,
    models: ReadModels[Any],
    projection: Projection[Any],
    state: ProjectionState | None,
) -> _Problem | None:
    """Why the projection cannot resume from its rows."""
    if state is None:
        return None
    rebuild = f"Rebuild it: eskit project rebuild {projection.name}"
    try:
        check_checkpoint(state, log)
        if state.checkpoint.position and state.version != projection.version:
            return _Problem(
                f"needs a rebuild: its rows are of version {state.version}, "
                f"the code is version {projection.version}",
                rebuild,
            )
        check(models, projection)
    except (CheckpointMismatch, MigrationInvalid) as error:
        return _Problem(error.message, error.hint)
    except RebuildNeeded as error:
        return _Problem(error.message, rebuild)
    return None


def _find_waiting(
    name: str,
    letters: Sequence[ProjectionDeadLetter],
    effects: Sequence[Effect],
    running: Holder | None,
) -> _Problem | None:
    """What waits for a decision, or to be called."""
    if letters:
        failed = sum(letter.state == "failed" for letter in letters)
        behind = len(letters) - failed
        waiting = f" and {behind:,} waiting behind" if behind else ""
        return _Problem(
            f"{count(failed, 'dead letter')}{waiting}, the first at {letters[0].position:,}",
            f"See which: eskit deadletter list {name}",
        )
    for effect in effects:
        if effect.error:
            return _Problem(
                f"{effect.name} of event {effect.position:,} fails: {effect.error}",
                "It is called again by itself."
                if running
                else f"Call it again: eskit project run --once {name}",
            )
    return None


def _age_of_next(log: EventLog, types: tuple[str, ...], position: int, now: datetime) -> float:
    if types:
        for event in log.read_all(after=position, limit=1, event_types=types):
            return max(0.0, (now - event.recorded_at).total_seconds())
    return 0.0
