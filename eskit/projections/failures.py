"""What is kept and said of an event that a handler raised on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypeAlias

from eskit.domain.events import RecordedEvent
from eskit.errors import ProjectionFailed
from eskit.projections.records import Effect, Failure, Phase
from eskit.raised import error_line, error_traceback


def phase_of(work: Work) -> Phase:
    """Under which phase a failure is kept, where it is."""
    return "run" if work in {"run", "dry run"} else "rebuild"


def describe(
    name: str, phase: Phase, event: RecordedEvent, error: BaseException, *, at: datetime
) -> Failure:
    """A failure as it is stored."""
    return Failure(
        projection=name,
        phase=phase,
        position=event.global_position,
        event_id=event.event_id,
        event_type=event.event_type,
        stream=event.stream,
        error=error_line(error),
        traceback=error_traceback(error, of_users=True),
        failed_at=at,
    )


Work: TypeAlias = Literal["run", "rebuild", "dry run", "estimate", "diff"]
"""What handlers are called for; only what stops a run or rebuild is kept for status."""

_STOPPED: Mapping[Work, tuple[str, str]] = {
    "run": ("", "See why: eskit project status {name}. Then try again: eskit project run {name}"),
    "rebuild": (
        "The rebuild of ",
        "See why: eskit project status {name}. Then try again: eskit project rebuild {name}",
    ),
    "dry run": (
        "The dry run of ",
        "Nothing of it was kept. See where: eskit --debug project run --dry-run {name}",
    ),
    "estimate": (
        "The estimate for ",
        "The rows are as they were. See where: eskit --debug project rebuild --dry-run {name}",
    ),
    "diff": (
        "The comparison of ",
        "The rows are as they were. See where: eskit --debug project diff {name}",
    ),
}


def stopped_before(
    name: str, work: Work, event: RecordedEvent, error: BaseException
) -> ProjectionFailed:
    """The error that calling the handlers ends with."""
    what, hint = _STOPPED[work]
    failed = ProjectionFailed(
        f"{what}{name} stopped before {describe_event(event)}: {error_line(error)}",
        hint=hint.format(name=name),
    )
    failed.__cause__ = error
    return failed


def effect_failed(effect: Effect) -> ProjectionFailed:
    """The error of a run whose rows are right, and which could not make a call."""
    name = effect.projection
    return ProjectionFailed(
        f"{effect.name} of event {effect.position:,} of {name} failed: {effect.error}",
        hint=f"The rows are right. Call it again: eskit project run --once {name}",
    )


def not_retried(name: str, event: RecordedEvent, error: BaseException) -> ProjectionFailed:
    """The error that retrying a dead letter ends with."""
    failed = ProjectionFailed(
        f"{name} failed again on {describe_event(event)}: {error_line(error)}",
        hint=f"See why: eskit deadletter show {name} {event.global_position}",
    )
    failed.__cause__ = error
    return failed


def describe_event(event: RecordedEvent) -> str:
    """An event in a few words."""
    return f"{event.global_position:,} {event.event_type} of {event.stream}"
