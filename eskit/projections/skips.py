"""Events that a projection has not handled and is not going to by itself: set aside, or skipped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from eskit.domain.events import RecordedEvent
from eskit.projections.records import DeadLetter, Failure, Skip

if TYPE_CHECKING:
    from eskit.projections.port import ReadModel


def failed_letter(
    failure: Failure, *, tenant: str, holds_stream: bool, attempts: int
) -> DeadLetter:
    """A dead letter for an event whose handler raised."""
    return DeadLetter(
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


def waiting_letter(projection: str, event: RecordedEvent, *, at: datetime) -> DeadLetter:
    """A dead letter for an event behind one of its stream."""
    return DeadLetter(
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


@dataclass(slots=True, kw_only=True)
class SkipFilter:
    """Keeps events from a projection that it must not handle now, and counts them."""

    projection: str
    model: ReadModel
    skipped: dict[int, str] = field(default_factory=dict)
    held: frozenset[tuple[str, str]] = frozenset()
    kept: int = 0

    def lets_through(self, event: RecordedEvent) -> bool:
        """Whether to handle the event; one of a stream that is held is set aside instead."""
        if self.skipped.get(event.global_position) == event.event_id:
            self.kept += 1
            return False
        if (event.tenant, event.stream) in self.held:
            self.model.save_dead_letter(
                waiting_letter(self.projection, event, at=self.model.clock.now)
            )
            self.kept += 1
            return False
        return True


def load_skip_filter(model: ReadModel, name: str) -> SkipFilter:
    """What was decided and set aside for a projection, as it is now."""
    letters = model.find_dead_letters(name)
    return SkipFilter(
        projection=name,
        model=model,
        skipped={skip.position: skip.event_id for skip in model.find_skips(name)},
        held=frozenset((found.tenant, found.stream) for found in letters if found.holds_stream),
    )


def skip_all(model: ReadModel, skips: Iterable[Skip]) -> None:
    """Let a model that is built aside pass over events."""
    with model.transaction():
        for skip in skips:
            model.save_skip(skip)
