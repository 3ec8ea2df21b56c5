"""What is kept and said of an event that a handler raised on."""

from __future__ import annotations

import traceback
from datetime import datetime

from eskit.domain.events import RecordedEvent
from eskit.errors import ProjectionFailed, ReadModelUnavailable
from eskit.projections import handling
from eskit.projections.handling import HandlerRaised
from eskit.projections.readmodel import Failure, Phase, ReadModel


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
        error=one_line(error),
        traceback=_storable("".join(_format(error))),
        failed_at=at,
    )


def _format(error: BaseException) -> list[str]:
    """The traceback from the user's handler on, without the call of it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") == handling.__name__:
        trace = trace.tb_next
    return traceback.format_exception(type(error), error, trace or error.__traceback__)


def stopped_before(
    name: str, phase: Phase, event: RecordedEvent, error: BaseException
) -> ProjectionFailed:
    """The error that a run or rebuild ends with."""
    what, command = ("", "run") if phase == "run" else ("The rebuild of ", "rebuild")
    failed = ProjectionFailed(
        f"{what}{name} stopped before {_told(event)}: {one_line(error)}",
        hint=f"See why: eskit project status {name}. Then try again: "
        f"eskit project {command} {name}",
    )
    failed.__cause__ = error
    return failed


def not_retried(name: str, event: RecordedEvent, error: BaseException) -> ProjectionFailed:
    """The error that retrying a dead letter ends with."""
    failed = ProjectionFailed(
        f"{name} failed again on {_told(event)}: {one_line(error)}",
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


def _told(event: RecordedEvent) -> str:
    return f"{event.global_position:,} {event.event_type} of {event.stream}"


def one_line(error: BaseException) -> str:
    """The error as people say it: its class and first line."""
    try:
        text = _storable(str(error)).partition("\n")[0]
    except Exception:  # noqa: BLE001 - the user's own __str__ must not hide that there is a failure
        text = "its text cannot be shown"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _storable(text: str) -> str:
    """Text as UTF-8 can hold it: a file name in an error may not be."""
    return text.encode(errors="backslashreplace").decode()
