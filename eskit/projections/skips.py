"""Keeping events from a projection that it must not handle now."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from eskit.clock import Clock
from eskit.domain.events import RecordedEvent
from eskit.projections import bookkeeping
from eskit.projections.port import ReadModel
from eskit.projections.records import Failure, ProjectionDeadLetter


@dataclass(slots=True, kw_only=True)
class SkipFilter:
    """Keeps back what is skipped, and what waits behind a dead letter of its stream; counts both.

    `held` are streams by tenant and name.
    """

    projection: str
    model: ReadModel[Any]
    clock: Clock
    skipped: dict[int, str] = field(default_factory=dict)
    held: frozenset[tuple[str, str]] = frozenset()
    kept: int = 0

    def lets_through(self, event: RecordedEvent) -> bool:
        """Whether to handle the event; one of a stream that is held becomes a dead letter."""
        if self.skipped.get(event.global_position) == event.event_id:
            self.kept += 1
            return False
        if (event.tenant, event.stream) in self.held:
            letter = waiting_dead_letter(self.projection, event, at=self.clock.now)
            bookkeeping.save_dead_letter(self.model, letter)
            self.kept += 1
            return False
        return True


def load_skip_filter(model: ReadModel[Any], name: str, *, clock: Clock) -> SkipFilter:
    """The decisions and dead letters of a projection, as they are now."""
    letters = bookkeeping.find_dead_letters(model, name)
    return SkipFilter(
        projection=name,
        model=model,
        clock=clock,
        skipped={skip.position: skip.event_id for skip in bookkeeping.find_skips(model, name)},
        held=frozenset((found.tenant, found.stream) for found in letters if found.holds_stream),
    )


def failed_dead_letter(
    failure: Failure, *, tenant: str, holds_stream: bool, attempts: int
) -> ProjectionDeadLetter:
    """A dead letter for an event whose handler raised."""
    return ProjectionDeadLetter(
        projection=failure.projection,
        state="failed",
        position=failure.position,
        event_id=failure.event_id,
        event_type=failure.event_type,
        stream=failure.stream,
        tenant=tenant,
        holds_stream=holds_stream,
        attempts=attempts,
        error=failure.error,
        traceback=failure.traceback,
        since=failure.failed_at,
    )


def waiting_dead_letter(
    projection: str, event: RecordedEvent, *, at: datetime
) -> ProjectionDeadLetter:
    """A dead letter for an event behind one of its stream."""
    return ProjectionDeadLetter(
        projection=projection,
        state="waiting",
        position=event.global_position,
        event_id=event.event_id,
        event_type=event.event_type,
        stream=event.stream,
        tenant=event.tenant,
        holds_stream=True,
        attempts=0,
        error="",
        traceback="",
        since=at,
    )
