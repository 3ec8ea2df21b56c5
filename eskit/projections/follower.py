"""Following the log: batches of events into read models, each with its checkpoint.

One batch is one transaction: the rows, the checkpoint of every projection in it and, when a
handler raised, its failure. So an event has its effect exactly once, whatever dies when.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from eskit.domain.events import RecordedEvent
from eskit.domain.upcasting import Upcasters
from eskit.errors import EskitError, ReadModelUnavailable, RebuildNeeded
from eskit.projections.checkpoints import check_standing, last_mark, mark_of
from eskit.projections.failures import describe, refuse_outage, stopped_before
from eskit.projections.handling import (
    Dispatch,
    HandlerRaised,
    Subscription,
    build_dispatch,
    handle_all,
    subscribe,
)
from eskit.projections.progress import Progress, ReportProgress
from eskit.projections.projection import EventContext, Projection
from eskit.projections.readmodel import START, Mark, Phase, ReadModel
from eskit.store.eventstore import EventStore


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How much goes into one transaction: so many events, for about so long."""

    events: int = 2_000
    seconds: float = 0.25


@dataclass(slots=True, eq=False)
class Member:
    """One projection on its way: what it has passed, and why it stopped if it did."""

    subscription: Subscription
    mark: Mark = START
    events: int = 0
    failed_before: bool = False
    paused: bool = False
    stopped: EskitError | None = None
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.subscription.projection.name

    def wants(self, event: RecordedEvent) -> bool:
        """Whether it has a handler for the event."""
        return event.event_type in self.subscription.handlers


class Follower:
    """Some projections of one read model on their way along the log.

    Those at the same place read the log once for all; one that lags catches up first.
    """

    def __init__(
        self,
        store: EventStore,
        model: ReadModel,
        projections: Iterable[Projection],
        *,
        upcasters: Upcasters,
        phase: Phase = "run",
        limits: BatchLimits | None = None,
        progress: ReportProgress | None = None,
    ) -> None:
        self._store = store
        self._model = model
        self._upcasters = upcasters
        self._phase = phase
        self._limits = limits or BatchLimits()
        self._progress = progress
        self._dispatches: dict[tuple[Member, ...], Dispatch] = {}
        self._started = time.monotonic()
        self.total: int | None = None
        self.members = [Member(subscribe(projection, upcasters)) for projection in projections]

    @property
    def active(self) -> list[Member]:
        """The projections that go on: neither stopped nor paused."""
        return [m for m in self.members if m.stopped is None and not m.paused]

    @property
    def ended(self) -> bool:
        """Whether every projection has stopped for good."""
        return all(member.stopped is not None for member in self.members)

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started

    def start(self) -> None:
        """Prepare every read model and compare its checkpoint with the log.

        A projection that cannot go on is stopped with the reason; the others are not held up.
        """
        for member in self.members:
            projection = member.subscription.projection
            try:
                standing = self._model.prepare(projection, store_id=self._store.store_id)
                check_standing(standing, self._store)
            except ReadModelUnavailable:
                raise
            except EskitError as error:
                member.stopped = error
            else:
                member.mark, member.paused = standing.mark, standing.pause is not None
                failures = self._model.find_failures(member.name)
                member.failed_before = any(failure.phase == self._phase for failure in failures)
        self._report([member for member in self.members if member.stopped], 0)

    def resume(self) -> None:
        """Let projections go on that are no longer paused."""
        for member in self.members:
            if member.paused:
                self._find_moved([member])

    def step(self, until: int) -> bool:
        """Handle one batch of events up to `until`; False when there was nothing to do."""
        group, ceiling = self._next_group(until)
        if not group:
            return False
        seen = group[0].mark
        events = self._read(group, seen, ceiling.position)
        if len(events) == self._limits.events:
            end = mark_of(events[-1])
        else:
            end = self._passed_all(ceiling, events, seen)
        if end == seen:
            return False
        try:
            self._handle(group, events, end)
        except HandlerRaised:
            self._handle_singly(group, events, end)
        self._report(group, until)
        return True

    def _next_group(self, until: int) -> tuple[list[Member], Mark]:
        """The projections furthest behind, and the place where they meet others or end."""
        behind = [member for member in self.active if member.mark.position < until]
        lowest = min((member.mark.position for member in behind), default=0)
        group = [member for member in behind if member.mark.position == lowest]
        ahead = [member.mark for member in behind if member.mark.position > lowest]
        return group, min(ahead, key=lambda mark: mark.position, default=Mark(until, ""))

    def _read(self, group: Sequence[Member], seen: Mark, ceiling: int) -> list[RecordedEvent]:
        types = {name for member in group for name in member.subscription.handlers}
        if not types:
            return []
        return list(
            self._store.read_all(
                after=seen.position,
                before=ceiling + 1,
                limit=self._limits.events,
                event_types=sorted(types),
            )
        )

    def _passed_all(self, ceiling: Mark, events: Sequence[RecordedEvent], seen: Mark) -> Mark:
        """The last event of whatever type up to the ceiling, once all wanted ones are handled."""
        if ceiling.event_id:
            return ceiling
        if events and events[-1].global_position == ceiling.position:
            return mark_of(events[-1])
        return last_mark(self._store, after=seen, until=ceiling.position)

    def _handle(self, group: Sequence[Member], events: Sequence[RecordedEvent], end: Mark) -> bool:
        """One batch in one transaction; HandlerRaised, and nothing done, if a handler does.

        False, and nothing done either, if somebody else has moved a checkpoint meanwhile.
        """
        dispatch = self._dispatch(group)
        with self._model.transaction():
            if self._find_moved(group):
                return False
            try:
                done = handle_all(dispatch, events, seconds=self._limits.seconds)
            except HandlerRaised as raised:
                refuse_outage(self._model, raised)
                raise
            passed = end if done == len(events) else mark_of(events[done - 1])
            for member in group:
                self._advance(member, passed)
        for member in group:
            handled = done if len(group) == 1 else sum(map(member.wants, events[:done]))
            self._settle(member, handled, passed)
        return True

    def _handle_singly(
        self, group: Sequence[Member], events: Sequence[RecordedEvent], end: Mark
    ) -> None:
        """The same in a transaction for each event: who fails stops before it, the rest go on."""
        deadline = time.monotonic() + self._limits.seconds
        before = group[0].mark
        for event in events:
            for member in group:
                if member.stopped is None and member.wants(event):
                    try:
                        if not self._handle([member], [event], mark_of(event)):
                            return
                    except HandlerRaised as raised:
                        self._stop(member, raised, before)
            before = mark_of(event)
            if time.monotonic() > deadline:
                end = before
                break
        going = [member for member in group if member.stopped is None]
        for member in going:
            if member.mark != end:
                self._handle([member], [], end)

    def _stop(self, member: Member, raised: HandlerRaised, before: Mark) -> None:
        """Keep what came before the event, and remember why the projection stands there."""
        with self._model.transaction():
            if self._find_moved([member]):
                return
            if member.mark != before:
                self._model.advance(member.name, seen=member.mark, passed=before)
            self._model.save_failure(describe(member.name, self._phase, raised.event, raised.error))
        member.mark = before
        member.stopped = stopped_before(member.name, self._phase, raised.event, raised.error)

    def _find_moved(self, group: Sequence[Member]) -> bool:
        """Whether a checkpoint is not the one that was read, or somebody paused meanwhile.

        Goes on from where it is now.
        """
        moved = False
        for member in group:
            standing = self._model.find_standing(member.name)
            if standing is None:
                raise ReadModelUnavailable(
                    f"The read model no longer knows projection {member.name!r}",
                    hint="Its file was exchanged; start again.",
                )
            version = member.subscription.projection.version
            if standing.version != version:
                member.stopped = RebuildNeeded(
                    f"Projection {member.name!r} was rebuilt as version {standing.version}, this "
                    f"process has version {version}",
                    hint="Start it again with the new code.",
                )
                moved = True
            elif standing.mark != member.mark or (standing.pause is not None) != member.paused:
                member.mark, member.paused = standing.mark, standing.pause is not None
                moved = True
        return moved

    def _advance(self, member: Member, passed: Mark) -> None:
        self._model.advance(member.name, seen=member.mark, passed=passed)
        if member.failed_before:
            self._model.clear_failure(member.name, self._phase)

    def _settle(self, member: Member, handled: int, passed: Mark) -> None:
        """Note what a committed transaction has done."""
        member.mark = passed
        member.failed_before = False
        member.events += handled

    def _dispatch(self, group: Sequence[Member]) -> Dispatch:
        key = tuple(group)
        if key not in self._dispatches:
            self._dispatches[key] = build_dispatch(
                [(member.subscription, EventContext(self._model.db)) for member in group],
                self._upcasters,
            )
        return self._dispatches[key]

    def _report(self, group: Sequence[Member], until: int) -> None:
        if self._progress is None:
            return
        for member in group:
            self._progress(
                Progress(
                    name=member.name,
                    events=member.events,
                    position=member.mark.position,
                    head=until,
                    seconds=self.seconds,
                    total=self.total,
                    error=member.stopped,
                )
            )
