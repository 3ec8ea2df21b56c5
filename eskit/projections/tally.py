"""What a run has done to each projection, also as others see it: beside the locks it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eskit.clock import Clock
from eskit.errors import EskitError
from eskit.projections.follower import Follower
from eskit.projections.locks import PATIENCE, ProjectionLock
from eskit.projections.member import Member
from eskit.projections.progress import RunReport
from eskit.projections.projection import Projection
from eskit.projections.records import START, ProjectionState
from eskit.slow import SlowCall

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
    stopped_at: ProjectionState | None = None
    waits_for: int | None = None
    looked_at: int = 0
    rate: float = 0.0


class Tally:
    """Counts what the followers of a run have done, one follower after the other."""

    def __init__(
        self,
        projections: Sequence[Projection],
        locks: Sequence[ProjectionLock],
        *,
        clock: Clock,
        beats: bool,
    ) -> None:
        self._clock = clock
        self._beats = beats
        self._lines = {
            projection.name: _Line(projection, lock)
            for projection, lock in zip(projections, locks, strict=True)
        }
        self._started = self._looked = self._clock.monotonic()
        self._outage = ""

    @property
    def going(self) -> list[Projection]:
        """The projections that are run here."""
        return [
            line.projection
            for line in self._lines.values()
            if line.lock.held and line.error is None
        ]

    def begin(self, follower: Follower) -> None:
        """Let a follower begin where the one before it has ended."""
        for member in follower.members:
            line = self._lines[member.name]
            member.held = line.lock.held
            member.stopped, member.stopped_at = line.error, line.stopped_at

    def add(self, follower: Follower) -> None:
        """Add what a follower did that is not asked any more."""
        for member in follower.members:
            line = self._lines[member.name]
            line.events += member.events
            line.set_aside += member.set_aside
            if member.checkpoint != START:
                line.position = member.checkpoint.position
            line.error, line.stopped_at = member.stopped, member.stopped_at

    def take_all(self) -> None:
        """Take the locks that nobody has."""
        for line in self._lines.values():
            line.lock.try_acquire(patience=PATIENCE)
        self.beat(None)

    def take(self, member: Member) -> bool:
        """Take a projection's lock, unless somebody has it."""
        line = self._lines[member.name]
        member.held = line.lock.try_acquire()
        if member.held:
            line.waits_for = None
            self.beat(None)
        return member.held

    def let_go(self, follower: Follower) -> None:
        """Leave projections that have stopped to whoever has decided, or has newer code."""
        for member in follower.members:
            if member.held and member.stopped is not None:
                self._lines[member.name].lock.release()
                member.held = False

    def find_holder(self, member: Member) -> int | None:
        """The process that runs a projection instead, once; None if it was told before."""
        line = self._lines[member.name]
        holder = line.lock.find_holder()
        found = holder.pid if holder is not None and holder.pid else None
        before, line.waits_for = line.waits_for, found
        return found if found != before else None

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
            line.rate = (events - line.looked_at) / passed
            line.looked_at = events
        self.beat(None)

    def tell_outage(self, outage: str) -> None:
        """Tell others why nothing goes on; empty when it does."""
        self._outage = outage
        for line in self._lines.values():
            line.rate = 0.0
        self.beat(None)

    def beat(self, slow: SlowCall | None) -> None:
        """Tell others that this process is there, and what takes it too long; from any thread."""
        for line in self._lines.values():
            line.lock.tell(rate=line.rate, outage=self._outage, slow=slow, beats=self._beats)

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
