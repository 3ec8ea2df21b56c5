"""What people decide about projections: pause, resume, and where to go on. Each is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from eskit.errors import InvalidArgument, ReadModelUnavailable
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


def pause(models: ReadModels, name: str, *, reason: str, by: str) -> None:
    """Pause a projection; once more changes only the reason."""
    with deciding(models, name, reason) as (model, state):
        model.pause(name, reason=reason)
        record(model, name, "pause", f"at {state.checkpoint.position}", reason=reason, by=by)


def resume(models: ReadModels, name: str, *, reason: str, by: str) -> None:
    """Resume a projection; InvalidArgument if it is not paused."""
    with deciding(models, name, reason) as (model, state):
        if state.pause is None:
            raise InvalidArgument(
                f"Projection {name!r} is not paused", hint="eskit project status shows what is."
            )
        model.resume(name)
        record(model, name, "resume", f"at {state.checkpoint.position}", reason=reason, by=by)


def set_checkpoint(
    log: EventLog,
    models: ReadModels,
    name: str,
    position: int,
    event_types: Sequence[str],
    *,
    reason: str,
    by: str,
    dry_run: bool,
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
        model.move_checkpoint(name, store_id=log.store_id, checkpoint=checkpoint)
        moved = f"{state.checkpoint.position} to {checkpoint.position}"
        record(model, name, "set checkpoint", moved, reason=reason, by=by)
    return _change(log, state, checkpoint.position, event_types)


def repair_checkpoints(
    log: EventLog, models: ReadModels, names: Sequence[str], *, by: str, dry_run: bool
) -> list[CheckpointRepair]:
    """Let projections that followed the log's original go on, where the log has their last event.

    Of a copy of their log that is enough: whatever their rows were made of is in it as well.
    """
    repairs = []
    for name in names:
        state = models.find_state(name)
        if state is None or state.store_id == log.store_id:
            continue
        problem = find_event_mismatch(state.checkpoint, log)
        if not problem and not dry_run:
            reason = f"it followed store {state.store_id}"
            with deciding(models, name, reason) as (model, now):
                problem = find_event_mismatch(now.checkpoint, log)
                if not problem:
                    model.move_checkpoint(name, store_id=log.store_id, checkpoint=now.checkpoint)
                    detail = f"at {now.checkpoint.position}"
                    record(model, name, "repair checkpoint", detail, reason=reason, by=by)
        repairs.append(
            CheckpointRepair(name=name, position=state.checkpoint.position, problem=problem)
        )
    return repairs


@contextmanager
def deciding(
    models: ReadModels, name: str, reason: str
) -> Iterator[tuple[LiveReadModel, ProjectionState]]:
    """A transaction around one decision, with where the projection stands right before it."""
    if not reason.strip():
        raise InvalidArgument(
            "A decision needs a reason", hint="Say why, for those who read it later: --reason."
        )
    _load_state(models, name)
    model = models.open()
    try:
        with model.transaction():
            state = model.find_state(name)
            if state is None:
                raise _never_ran(name)
            yield model, state
    finally:
        model.close()


def _load_state(models: ReadModels, name: str) -> ProjectionState:
    state = models.find_state(name)
    if state is None:
        raise _never_ran(name)
    return state


def _never_ran(name: str) -> ReadModelUnavailable:
    return ReadModelUnavailable(
        f"Projection {name!r} has never run here",
        hint=f"There is nothing to decide yet: eskit project run {name}",
    )


def record(
    model: LiveReadModel, name: str, action: str, detail: str, *, reason: str, by: str
) -> None:
    """Add a decision to the audit record; part of its transaction."""
    model.save_decision(
        Decision(
            projection=name,
            action=action,
            detail=detail,
            reason=reason,
            decided_by=by,
            decided_at=model.clock.now,
        )
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
