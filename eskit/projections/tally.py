"""What a run has done to each projection, also as others see it: beside the locks it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eskit.clock import Clock
from eskit.errors import EskitError
from eskit.projections.follower import Follower
from eskit.projections.locks import ProjectionLock
from eskit.projections.progress import RunReport
from eskit.projections.projection import Projection
from eskit.projections.readmodel import START

# Between two looks at how fast it goes.
_EVERY = 1.0


@dataclass(slots=True)
class _Line:
    """The sums of one projection, over all followers before the present one."""

    projection: Projection
    lock: ProjectionLock
    events: int = 0
    set_aside: int = 0
    position: int = 0
    error: EskitError | None = None
    looked_at: int = 0


class Tally:
    """Counts what the followers of a run have done, one follower after the other."""

    def __init__(
        self, projections: Sequence[Projection], locks: Sequence[ProjectionLock], *, clock: Clock
    ) -> None:
        self._clock = clock
        self._lines = {
            projection.name: _Line(projection, lock)
            for projection, lock in zip(projections, locks, strict=True)
        }
        self._started = self._looked = self._clock.monotonic()
        self._outage = ""

    @property
    def going(self) -> list[Projection]:
        """The projections that have not stopped for good."""
        return [line.projection for line in self._lines.values() if line.error is None]

    def add(self, follower: Follower) -> None:
        """Add what a follower did that is not asked any more."""
        for member in follower.members:
            line = self._lines[member.name]
            line.events += member.events
            line.set_aside += member.set_aside
            if member.mark != START:
                line.position = member.mark.position
            line.error = member.stopped

    def tell(self, follower: Follower) -> None:
        """Tell others how fast each projection goes, about once a second."""
        now = self._clock.monotonic()
        passed = now - self._looked
        if passed < _EVERY:
            return
        self._looked = now
        for member in follower.members:
            line = self._lines[member.name]
            events = line.events + member.events
            line.lock.tell(rate=(events - line.looked_at) / passed, outage=self._outage)
            line.looked_at = events

    def tell_outage(self, outage: str) -> None:
        """Tell others why nothing goes on; empty when it does."""
        self._outage = outage
        for line in self._lines.values():
            line.lock.tell(rate=0.0, outage=outage)

    def reports(self) -> list[RunReport]:
        """What was done to each projection."""
        seconds = self._clock.monotonic() - self._started
        return [
            RunReport(
                name=name,
                events=line.events,
                position=line.position,
                seconds=seconds,
                error=line.error,
                set_aside=line.set_aside,
            )
            for name, line in self._lines.items()
        ]
