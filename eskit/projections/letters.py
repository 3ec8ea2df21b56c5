"""Events that a projection has not handled and is not going to by itself: set aside, or skipped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from eskit.domain.events import RecordedEvent

if TYPE_CHECKING:
    from eskit.projections.readmodel import Failure, ReadModel

LetterState: TypeAlias = Literal["stopped", "rebuild stopped", "failed", "waiting"]
"""The projection, or its rebuild, stands before it; set aside; behind one that was set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """An event that waits for somebody to decide: a dead letter, or what stopped a projection.

    `holds_stream` says that later events of its stream wait behind it. `attempts` is how often it
    was tried before it was set aside; 0 for one that was not.
    """

    projection: str
    state: LetterState
    position: int
    event_id: str
    event_type: str
    stream: str
    tenant: str
    holds_stream: bool
    attempts: int
    error: str
    traceback: str
    since: datetime

    @property
    def text(self) -> str:
        """The event in a few words."""
        return f"{self.position:,} {self.event_type} of {self.stream}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """The decision that a projection never handles an event, also in a rebuild."""

    projection: str
    position: int
    event_id: str
    event_type: str
    stream: str
    reason: str
    decided_by: str
    decided_at: datetime

    @property
    def text(self) -> str:
        """The event in a few words."""
        return f"{self.position:,} {self.event_type} of {self.stream}"


def failed_letter(failure: Failure, *, tenant: str, holds_stream: bool, attempts: int) -> Letter:
    """A dead letter for an event whose handler raised."""
    return Letter(
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


def waiting_letter(projection: str, event: RecordedEvent, *, at: datetime) -> Letter:
    """A dead letter for an event behind one of its stream."""
    return Letter(
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
class Guard:
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
            self.model.save_letter(waiting_letter(self.projection, event, at=self.model.clock.now))
            self.kept += 1
            return False
        return True


def load_guard(model: ReadModel, name: str) -> Guard:
    """What was decided and set aside for a projection, as it is now."""
    letters = model.find_letters(name)
    return Guard(
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
