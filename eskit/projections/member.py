"""One projection on its way along the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import LogRow
from eskit.errors import EskitError
from eskit.projections.effects import Effects
from eskit.projections.handling import Subscription
from eskit.projections.projection import EventContext
from eskit.projections.records import START, EventPosition, ProjectionState


@dataclass(slots=True, eq=False)
class Member:
    """One projection on its way: what it has passed, and why it stopped if it did.

    `held` says that this process is the one that runs it. `stopped_at` is where it stood when it
    stopped.
    """

    subscription: Subscription
    clock: Clock = SYSTEM_CLOCK
    checkpoint: EventPosition = START
    events: int = 0
    failed_before: bool = False
    paused: bool = False
    has_exceptions: bool = False
    set_aside: int = 0
    attempts: int = 0
    retry_at: float = 0.0
    held: bool = True
    stopped: EskitError | None = None
    stopped_at: ProjectionState | None = None
    name: str = field(init=False)
    context: EventContext = field(init=False)
    effects: Effects | None = None

    def __post_init__(self) -> None:
        self.name = self.subscription.projection.name

    @property
    def going(self) -> bool:
        """Whether it goes on now: neither stopped, paused nor waiting, for its turn or to retry."""
        waits = not self.held or self.paused or self.retry_at > self.clock.monotonic()
        return self.stopped is None and not waits

    def stop(self, error: EskitError, state: ProjectionState | None) -> None:
        """Go on no more, unless what it stands at there changes."""
        self.stopped, self.stopped_at = error, state

    def wants(self, row: LogRow) -> bool:
        """Whether it has a handler for the event."""
        return row[2] in self.subscription.handlers

    def count_wanted(self, types: Mapping[str, int]) -> int:
        """How many of so many events of each type it has handled."""
        return sum(types[wanted] for wanted in types if wanted in self.subscription.handlers)
