"""A part of the log, passed as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eskit.domain.events import LogRow
from eskit.errors import ProjectionError
from eskit.projections.checkpoints import position_of_row
from eskit.projections.log import EventLog
from eskit.projections.records import EventPosition


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of the log: between two places, all events for which somebody has handlers.

    Whoever passes it passes all of them: a checkpoint moves from `start` to `end` and no other way.
    """

    start: EventPosition
    events: Sequence[LogRow]
    end: EventPosition

    def first(self, count: int, log: EventLog) -> Stretch:
        """The part with so many of the events."""
        if count == len(self.events):
            return self
        end = position_of_row(self.events[count - 1], log) if count else self.start
        return Stretch(start=self.start, events=self.events[:count], end=end)

    def before(self, position: int, log: EventLog) -> Stretch:
        """The part with the events before a position."""
        return self.first(sum(event[0] < position for event in self.events), log)

    def after(self, part: Stretch) -> Stretch:
        """What is left behind a first part."""
        return Stretch(start=part.end, events=self.events[len(part.events) :], end=self.end)

    def of(self, wants: Callable[[LogRow], bool]) -> Stretch:
        """The same for somebody who has handlers for fewer of the events."""
        return Stretch(start=self.start, events=list(filter(wants, self.events)), end=self.end)


class CheckpointJumped(ProjectionError):
    """A fault of eskit: a checkpoint was about to pass events that nobody has looked at.

    Nothing of the transaction is kept, and the projection stops.
    """

    code = "CHECKPOINT_JUMPED"

    def __init__(self, projection: str, stands: EventPosition, stretch: Stretch) -> None:
        super().__init__(
            f"Projection {projection!r} is at {stands.position:,} and would have passed "
            f"{stretch.start.position:,} to {stretch.end.position:,}: that is a fault of eskit",
            hint="Report it. No event was skipped, the rows are right up to there; a restart "
            "resumes there.",
        )
        self.projection = projection
