"""What is kept and said of an event that a handler raised on."""

from __future__ import annotations

from datetime import datetime

from eskit.domain.events import RecordedEvent
from eskit.errors import ProjectionFailed, ReadModelUnavailable
from eskit.projections import handling
from eskit.projections.handling import HandlerRaised
from eskit.projections.readmodel import Failure, Phase, ReadModel
from eskit.raised import error_line, error_traceback


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
        traceback=error_traceback(error, outside=handling.__name__),
        failed_at=at,
    )


def stopped_before(
    name: str, phase: Phase, event: RecordedEvent, error: BaseException
) -> ProjectionFailed:
    """The error that a run or rebuild ends with."""
    what, command = ("", "run") if phase == "run" else ("The rebuild of ", "rebuild")
    failed = ProjectionFailed(
        f"{what}{name} stopped before {describe_event(event)}: {error_line(error)}",
        hint=f"See why: eskit project status {name}. Then try again: "
        f"eskit project {command} {name}",
    )
    failed.__cause__ = error
    return failed


def not_retried(name: str, event: RecordedEvent, error: BaseException) -> ProjectionFailed:
    """The error that retrying a dead letter ends with."""
    failed = ProjectionFailed(
        f"{name} failed again on {describe_event(event)}: {error_line(error)}",
        hint=f"See why: eskit deadletter show {name} {event.global_position}",
    )
    failed.__cause__ = error
    return failed


def refuse_outage(model: ReadModel, raised: HandlerRaised) -> None:
    """Raise ReadModelUnavailable if the handler only met a full disk or the like."""
    if model.is_outage(raised.error):
        raise ReadModelUnavailable(
            f"The read model failed under a handler: {raised.error}",
            hint="Nothing of the batch was kept; run again when the cause is gone.",
        ) from raised.error


def describe_event(event: RecordedEvent) -> str:
    """An event in a few words."""
    return f"{event.global_position:,} {event.event_type} of {event.stream}"
