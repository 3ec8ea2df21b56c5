"""Following the log: which projections read on next, from where to where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from eskit.domain.events import LogRow
from eskit.domain.upcasting import Upcasters
from eskit.errors import (
    CheckpointMismatch,
    EskitError,
    LogBroken,
    ProjectionFailed,
    ReadModelUnavailable,
)
from eskit.projections.batches import Batches, BatchLimits, Stretch
from eskit.projections.checkpoints import check_checkpoint, last_position, position_of_row
from eskit.projections.effects import Effects
from eskit.projections.failures import Work, describe_event, effect_failed, phase_of
from eskit.projections.handling import handler_packages, subscribe
from eskit.projections.log import EventLog, Placed
from eskit.projections.lookup import EventLookup
from eskit.projections.member import Member
from eskit.projections.outages import may_pass
from eskit.projections.port import ReadModel
from eskit.projections.progress import Progress, ReportProgress
from eskit.projections.projection import EventContext, Projection
from eskit.projections.records import START, EventPosition
from eskit.slow import InHand, SlowCall, SlowCalls


class Follower:
    """Some projections of one read model on their way along the log.

    Those at the same place read the log once for all; one that lags catches up first.
    """

    def __init__(
        self,
        log: EventLog,
        model: ReadModel,
        projections: Iterable[Projection],
        *,
        upcasters: Upcasters,
        work: Work = "run",
        limits: BatchLimits | None = None,
        progress: ReportProgress | None = None,
        slow: SlowCalls | None = None,
    ) -> None:
        self._log = log
        self._clock = model.clock
        self._model = model
        self._phase = phase_of(work)
        self._limits = limits or BatchLimits()
        self._progress = progress
        self._started = self._clock.monotonic()
        self._slow = slow or SlowCalls(after=None)
        self._in_hand: InHand | None = None
        self._begun = 0
        self.total: int | None = None
        self.members = [
            Member(subscribe(projection, upcasters), self._clock) for projection in projections
        ]
        types = {name for member in self.members for name in member.subscription.handlers}
        self._lookup = lookup = EventLookup(log, types)
        self._batches = Batches(
            log,
            model,
            upcasters=upcasters,
            lookup=lookup,
            limits=self._limits,
            work=work,
        )
        for member in self.members:
            if work == "run":
                packages = handler_packages(member.subscription.handlers.values())
                member.effects = Effects(model, member.name, packages)
            member.context = EventContext(model.db, lookup.load, member.effects)

    @property
    def seconds_to_retry(self) -> float | None:
        """How long until a projection tries again what its handler raised on; None if none does."""
        times = [
            m.retry_at
            for m in self.members
            if m.retry_at and m.held and m.stopped is None and not m.paused
        ]
        return max(0.0, min(times) - self._clock.monotonic()) if times else None

    @property
    def ended(self) -> bool:
        """Whether every projection has stopped."""
        return all(member.stopped is not None for member in self.members)

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return self._clock.monotonic() - self._started

    @property
    def slow_call(self) -> SlowCall | None:
        """What it has been in for too long, if it is; also for other threads to ask."""
        return self._in_hand.slow if self._in_hand is not None else None

    def start(self) -> None:
        """Begin with all that are held and have not stopped."""
        for member in self.members:
            if member.held and member.stopped is None:
                self.begin(member)

    def begin(self, member: Member) -> None:
        """Prepare a read model and compare its checkpoint with the log.

        A projection that cannot go on is stopped with the reason; the others are not held up.
        """
        with self._watching():
            self._begin(member)
        if member.stopped is not None:
            self.report(member)

    def report(self, member: Member, *, holder: int | None = None) -> None:
        """Tell where a projection is now, whether it has stopped, and who runs it instead."""
        self._report([member], member.checkpoint.position, holder=holder)

    def _begin(self, member: Member) -> None:
        projection = member.subscription.projection
        member.stopped = member.stopped_at = None
        member.attempts, member.retry_at = 0, 0.0
        found = self._model.find_state(member.name)
        try:
            state = self._model.prepare(projection, store_id=self._log.store_id)
            check_checkpoint(state, self._log)
        except EskitError as error:
            if isinstance(error, ReadModelUnavailable) or may_pass(error):
                raise
            member.stop(error, found)
            member.checkpoint = found.checkpoint if found is not None else START
            return
        member.checkpoint, member.paused = state.checkpoint, state.pause is not None
        member.has_exceptions = state.has_exceptions
        if member.effects is not None:
            member.effects.load()
            member.effects.call_due()
        failures = self._model.find_failures(member.name)
        member.failed_before = any(f.phase in {self._phase, "retry"} for f in failures)

    def may_go_on(self, member: Member) -> bool:
        """Whether what stopped a projection may be over: somebody decided, ran or rebuilt it."""
        state, before = self._model.find_state(member.name), member.stopped_at
        if state is not None and before is not None:
            state = replace(state, pause=before.pause, has_exceptions=before.has_exceptions)
        if state != before:
            return True
        failures = self._model.find_failures(member.name)
        kept = any(failure.phase == self._phase for failure in failures)
        return isinstance(member.stopped, ProjectionFailed) and not kept

    def resume(self) -> None:
        """See what was decided meanwhile, such as a pause or its end, and call what is due."""
        with self._watching():
            going = [member for member in self.members if member.held and member.stopped is None]
            for member in going:
                self._batches.find_moved([member])
            for member in (member for member in going if member.stopped is not None):
                self.report(member)
            for member in self.members:
                if member.held and member.effects is not None:
                    member.effects.call_due()

    def stop_at_effects(self) -> None:
        """Stop projections of which something that is to be called has failed."""
        for member in self.members:
            effect = member.effects.find_failed() if member.effects is not None else None
            if effect is not None and member.stopped is None:
                member.stop(effect_failed(effect), None)

    def step(self, until: int) -> bool:
        """Handle one batch of events up to `until`; False when there was nothing to do."""
        with self._watching():
            return self._step(until)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Let a call be noticed that takes too long."""
        self._begun += 1
        with self._slow.watching(self._describe_call, at=self._find_call) as self._in_hand:
            yield

    def _find_call(self) -> object:
        calling = self._lookup.calling
        return self._begun, calling and (id(calling), calling.position)

    def _describe_call(self) -> str:
        calling = self._lookup.calling
        if calling is None:
            at = max(member.checkpoint.position for member in self.members)
            names = ", ".join(member.name for member in self.members if member.held)
            return f"The run of {names} after {at:,}"
        (name,) = (member.name for member in self.members if member.context is calling)
        return f"The handler of {name} for {self._describe_event(calling.position)}"

    def _describe_event(self, position: int) -> str:
        try:
            event = self._log.find_event(position)
        except EskitError:
            event = None
        return f"{position:,}" if event is None else describe_event(event)

    def _step(self, until: int) -> bool:
        group, ceiling = self._next_group(until)
        if not group:
            return False
        seen = group[0].checkpoint
        try:
            events = self._read(group, seen, ceiling.position)
        except LogBroken as broken:
            if broken.position <= seen.position:
                self._stop_broken(group, broken)
                return True
            ceiling = EventPosition(
                broken.position, ""
            )  # what comes before is handled all the same
            events = self._read(group, seen, ceiling.position)
        if len(events) == self._limits.events:
            end = position_of_row(events[-1], self._log)
        else:
            end = self._passed_all(ceiling, events, seen)
        if end == seen:
            return False
        self._batches.handle(group, Stretch(start=seen, events=events, end=end))
        self._report(group, until)
        return True

    def _next_group(self, until: int) -> tuple[list[Member], EventPosition]:
        """The projections furthest behind, and the place where they meet others or end."""
        behind = [m for m in self.members if m.going and m.checkpoint.position < until]
        lowest = min((member.checkpoint.position for member in behind), default=0)
        group = [member for member in behind if member.checkpoint.position == lowest]
        ahead = [member.checkpoint for member in behind if member.checkpoint.position > lowest]
        if isinstance(self._log, Placed):
            until = min(until, lowest + self._log.stretch)
        return group, min(
            [*ahead, EventPosition(until, "")],
            key=lambda checkpoint: (checkpoint.position, not checkpoint.event_id),
        )

    def _stop_broken(self, group: Sequence[Member], broken: LogBroken) -> None:
        """Stop who would miss events: the reason is that of their own checkpoint, if it has one."""
        for member in group:
            state = self._model.find_state(member.name)
            member.stop(broken, state)
            if state is not None:
                try:
                    check_checkpoint(state, self._log)
                except CheckpointMismatch as mismatch:
                    member.stop(mismatch, state)
        self._report(group, group[0].checkpoint.position)

    def _read(self, group: Sequence[Member], seen: EventPosition, ceiling: int) -> list[LogRow]:
        types = {name for member in group for name in member.subscription.handlers}
        if not types:
            return []
        return list(
            self._log.read_log_rows(
                after=seen.position,
                before=ceiling + 1,
                limit=self._limits.events,
                event_types=sorted(types),
            )
        )

    def _passed_all(
        self, ceiling: EventPosition, events: Sequence[LogRow], seen: EventPosition
    ) -> EventPosition:
        """The last event of whatever type up to the ceiling, once all wanted ones are handled."""
        if ceiling.event_id:
            return ceiling
        if events and events[-1][0] == ceiling.position:
            return position_of_row(events[-1], self._log)
        return last_position(self._log, after=seen, until=ceiling.position)

    def _report(self, group: Sequence[Member], until: int, *, holder: int | None = None) -> None:
        if self._progress is None:
            return
        for member in group:
            self._progress(
                Progress(
                    name=member.name,
                    events=member.events,
                    position=member.checkpoint.position,
                    head=until,
                    seconds=self.seconds,
                    total=self.total,
                    error=member.stopped,
                    holder=holder,
                )
            )
