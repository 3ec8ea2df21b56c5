"""Decisions about projections: pause, resume, and where to resume. Each is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import InvalidArgument, ReadModelUnavailable
from eskit.projections import bookkeeping
from eskit.projections.checkpoints import find_event_mismatch, last_position
from eskit.projections.log import EventLog
from eskit.projections.port import LiveReadModel, ReadModels
from eskit.projections.records import START, Decision, ProjectionState


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointChange:
    """A checkpoint moved, or not yet: how many events are handled again, or jumped over."""

    name: str
    before: int
    after: int
    again: int
    skipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRepair:
    """A checkpoint in the log of another store: taken over into this one, or the reason why not."""

    name: str
    position: int
    problem: str


def pause(
    models: ReadModels[Any], name: str, *, reason: str, by: str, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Pause a projection; once more changes only the reason."""
    with deciding(models, name, reason) as (model, state):
        bookkeeping.save_state(model, replace(state, pause=reason))
        record(
            model,
            name,
            "pause",
            f"at {state.checkpoint.position}",
            reason=reason,
            by=by,
            clock=clock,
        )


def resume(
    models: ReadModels[Any], name: str, *, reason: str, by: str, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Resume a projection; InvalidArgument if it is not paused."""
    with deciding(models, name, reason) as (model, state):
        if state.pause is None:
            raise InvalidArgument(
                f"Projection {name!r} is not paused", hint="See its state: eskit project status"
            )
        bookkeeping.save_state(model, replace(state, pause=None))
        record(
            model,
            name,
            "resume",
            f"at {state.checkpoint.position}",
            reason=reason,
            by=by,
            clock=clock,
        )


def set_checkpoint(
    log: EventLog,
    models: ReadModels[Any],
    name: str,
    position: int,
    event_types: Sequence[str],
    *,
    reason: str,
    by: str,
    dry_run: bool,
    clock: Clock = SYSTEM_CLOCK,
) -> CheckpointChange:
    """Move a checkpoint to the last event at or before a position."""
    head = log.head_position()
    if not 0 <= position <= head:
        raise InvalidArgument(
            f"Position {position:,} is outside the log, which ends at {head:,}",
            hint="A checkpoint past the head would jump over events that do not exist yet.",
        )
    checkpoint = last_position(log, after=START, until=position)
    if dry_run:
        return _change(log, _load_state(models, name), checkpoint.position, event_types)
    with deciding(models, name, reason) as (model, state):
        bookkeeping.move_checkpoint(
            model, state, store_id=log.store_id, checkpoint=checkpoint, now=clock.now
        )
        moved = f"{state.checkpoint.position} to {checkpoint.position}"
        record(model, name, "set checkpoint", moved, reason=reason, by=by, clock=clock)
    return _change(log, state, checkpoint.position, event_types)


def repair_checkpoints(
    log: EventLog,
    models: ReadModels[Any],
    names: Sequence[str],
    *,
    by: str,
    dry_run: bool,
    clock: Clock = SYSTEM_CLOCK,
) -> list[CheckpointRepair]:
    """Let projections of the log's original resume, if the log has their last event.

    Of a copy of their log that is enough: whatever their rows were made of is in it as well.
    """
    repairs = []
    for name in names:
        state = bookkeeping.find_state(models, name)
        if state is None or state.store_id == log.store_id:
            continue
        problem = find_event_mismatch(state.checkpoint, log)
        if not problem and not dry_run:
            reason = f"it followed store {state.store_id}"
            with deciding(models, name, reason) as (model, now):
                problem = find_event_mismatch(now.checkpoint, log)
                if not problem:
                    bookkeeping.move_checkpoint(
                        model, now, store_id=log.store_id, checkpoint=now.checkpoint, now=clock.now
                    )
                    detail = f"at {now.checkpoint.position}"
                    record(
                        model, name, "repair checkpoint", detail, reason=reason, by=by, clock=clock
                    )
        repairs.append(
            CheckpointRepair(name=name, position=state.checkpoint.position, problem=problem)
        )
    return repairs


@contextmanager
def deciding(
    models: ReadModels[Any], name: str, reason: str
) -> Iterator[tuple[LiveReadModel[Any], ProjectionState]]:
    """A transaction around one decision, with where the projection stands right before it."""
    if not reason.strip():
        raise InvalidArgument(
            "A decision needs a reason", hint="Say why, for those who read it later: --reason."
        )
    _load_state(models, name)
    model = models.open()
    try:
        with model.transaction():
            state = bookkeeping.find_state(model, name)
            if state is None:
                raise _never_ran(name)
            yield model, state
    finally:
        model.close()


def _load_state(models: ReadModels[Any], name: str) -> ProjectionState:
    state = bookkeeping.find_state(models, name)
    if state is None:
        raise _never_ran(name)
    return state


def _never_ran(name: str) -> ReadModelUnavailable:
    return ReadModelUnavailable(
        f"Projection {name!r} has never run here",
        hint=f"There is nothing to decide yet: eskit project run {name}",
    )


def record(
    model: LiveReadModel[Any],
    name: str,
    action: str,
    detail: str,
    *,
    reason: str,
    by: str,
    clock: Clock,
) -> None:
    """Add a decision to the audit record; part of its transaction."""
    bookkeeping.save_decision(
        model,
        Decision(
            projection=name,
            action=action,
            detail=detail,
            reason=reason,
            decided_by=by,
            decided_at=clock.now,
        ),
    )


def _change(
    log: EventLog, state: ProjectionState, after: int, event_types: Sequence[str]
) -> CheckpointChange:
    before = state.checkpoint.position
    low, high = sorted((before, after))
    between = (
        log.count_events(after=low, before=high + 1, event_types=event_types) if event_types else 0
    )
    return CheckpointChange(
        name=state.name,
        before=before,
        after=after,
        again=between if after < before else 0,
        skipped=between if after > before else 0,
    )
