"""How far long work has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from eskit.errors import EskitError
from eskit.processes.holding import Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionProgress:
    """One projection on its way: `events` handled so far in `seconds`, up to `position`.

    `total` is how many events it will have handled at `head`; None while following. `error` says
    why it stopped, once, if it did. `holder` is the process that runs it instead, once: this one
    stands by.
    """

    name: str
    events: int
    position: int
    head: int
    seconds: float
    total: int | None = None
    error: EskitError | None = None
    holder: Holder | None = None

    @property
    def rate(self) -> float:
        """Events a second since the start."""
        return self.events / self.seconds if self.seconds else 0.0

    @property
    def remaining_seconds(self) -> float | None:
        """At this rate, how long until the head; None if nothing can be said."""
        if self.total is None or not self.events or not self.seconds:
            return None
        return max(0.0, (self.total - self.events) / self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What a run or rebuild of one projection did, and why it stopped if it did.

    `set_aside` counts the events that became dead letters, `skipped` those that are passed over
    because somebody has decided so.
    """

    name: str
    events: int
    position: int
    seconds: float
    error: EskitError | None = None
    set_aside: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildEstimate:
    """How many events a rebuild would handle, and how long that takes at a measured rate.

    `rate` is in events a second, over the first `measured` events; 0 where there are none.
    """

    name: str
    events: int
    rate: float
    measured: int

    @property
    def seconds(self) -> float:
        """How long the whole rebuild takes if all events are like those measured."""
        return self.events / self.rate if self.rate else 0.0


ReportProjectionProgress: TypeAlias = Callable[[ProjectionProgress], None]
