"""Following the log: which projections read on next, from where to where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eskit.domain.events import LogRow
from eskit.domain.upcasting import Upcasters
from eskit.errors import CheckpointMismatch, EskitError, LogBroken, ReadModelUnavailable
from eskit.projections.batches import Batches, BatchLimits, Stretch
from eskit.projections.checkpoints import check_standing, last_mark, mark_of_row
from eskit.projections.effects import Effects
from eskit.projections.handling import handler_packages, subscribe
from eskit.projections.log import EventLog, Placed
from eskit.projections.lookup import EventLookup
from eskit.projections.member import Member
from eskit.projections.outages import may_pass
from eskit.projections.progress import Progress, ReportProgress
from eskit.projections.projection import EventContext, Projection
from eskit.projections.readmodel import START, Mark, Phase, ReadModel


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
        phase: Phase = "run",
        limits: BatchLimits | None = None,
        progress: ReportProgress | None = None,
        rehearsal: bool = False,
    ) -> None:
        self._log = log
        self._clock = model.clock
        self._model = model
        self._phase = phase
        self._limits = limits or BatchLimits()
        self._progress = progress
        self._started = self._clock.monotonic()
        self.total: int | None = None
        final = phase != "run" or rehearsal
        self.members = [
            Member(subscribe(projection, upcasters), self._clock) for projection in projections
        ]
        types = {name for member in self.members for name in member.subscription.handlers}
        lookup = EventLookup(log, types)
        self._batches = Batches(
            log,
            model,
            upcasters=upcasters,
            lookup=lookup,
            limits=self._limits,
            phase=phase,
            final=final,
        )
        for member in self.members:
            if not final:
                packages = handler_packages(member.subscription.handlers.values())
                member.effects = Effects(model, member.name, packages)
            member.context = EventContext(model.db, lookup.find, member.effects)

    @property
    def seconds_to_retry(self) -> float | None:
        """How long until a projection tries again what its handler raised on; None if none does."""
        times = [
            m.retry_at for m in self.members if m.retry_at and m.stopped is None and not m.paused
        ]
        return max(0.0, min(times) - self._clock.monotonic()) if times else None

    @property
    def ended(self) -> bool:
        """Whether every projection has stopped for good."""
        return all(member.stopped is not None for member in self.members)

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return self._clock.monotonic() - self._started

    def start(self) -> None:
        """Prepare every read model and compare its checkpoint with the log.

        A projection that cannot go on is stopped with the reason; the others are not held up.
        """
        for member in self.members:
            projection = member.subscription.projection
            try:
                standing = self._model.prepare(projection, store_id=self._log.store_id)
                check_standing(standing, self._log)
            except EskitError as error:
                if isinstance(error, ReadModelUnavailable) or may_pass(error):
                    raise
                member.stopped = error
                stands = self._model.find_standing(member.name)
                member.mark = stands.mark if stands is not None else START
            else:
                member.mark, member.paused = standing.mark, standing.pause is not None
                member.guarded = standing.guarded
                if member.effects is not None:
                    member.effects.load()
                    member.effects.call_due()
                failures = self._model.find_failures(member.name)
                member.failed_before = any(f.phase in {self._phase, "retry"} for f in failures)
        self._report([member for member in self.members if member.stopped], 0)

    def resume(self) -> None:
        """See what was decided meanwhile, such as a pause or its end, and call what is due."""
        for member in self.members:
            if member.stopped is None:
                self._batches.find_moved([member])
            if member.effects is not None:
                member.effects.call_due()

    def step(self, until: int) -> bool:
        """Handle one batch of events up to `until`; False when there was nothing to do."""
        group, ceiling = self._next_group(until)
        if not group:
            return False
        seen = group[0].mark
        try:
            events = self._read(group, seen, ceiling.position)
        except LogBroken as broken:
            if broken.position <= seen.position:
                self._stop_broken(group, broken)
                return True
            ceiling = Mark(broken.position, "")  # what comes before is handled all the same
            events = self._read(group, seen, ceiling.position)
        if len(events) == self._limits.events:
            end = mark_of_row(events[-1], self._log)
        else:
            end = self._passed_all(ceiling, events, seen)
        if end == seen:
            return False
        self._batches.handle(group, Stretch(start=seen, events=events, end=end))
        self._report(group, until)
        return True

    def _next_group(self, until: int) -> tuple[list[Member], Mark]:
        """The projections furthest behind, and the place where they meet others or end."""
        behind = [m for m in self.members if m.going and m.mark.position < until]
        lowest = min((member.mark.position for member in behind), default=0)
        group = [member for member in behind if member.mark.position == lowest]
        ahead = [member.mark for member in behind if member.mark.position > lowest]
        if isinstance(self._log, Placed):
            until = min(until, lowest + self._log.stretch)
        return group, min(
            [*ahead, Mark(until, "")], key=lambda mark: (mark.position, not mark.event_id)
        )

    def _stop_broken(self, group: Sequence[Member], broken: LogBroken) -> None:
        """Stop who would miss events: the reason is that of their own checkpoint, if it has one."""
        for member in group:
            standing = self._model.find_standing(member.name)
            member.stopped = broken
            if standing is not None:
                try:
                    check_standing(standing, self._log)
                except CheckpointMismatch as mismatch:
                    member.stopped = mismatch
        self._report(group, group[0].mark.position)

    def _read(self, group: Sequence[Member], seen: Mark, ceiling: int) -> list[LogRow]:
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

    def _passed_all(self, ceiling: Mark, events: Sequence[LogRow], seen: Mark) -> Mark:
        """The last event of whatever type up to the ceiling, once all wanted ones are handled."""
        if ceiling.event_id:
            return ceiling
        if events and events[-1][0] == ceiling.position:
            return mark_of_row(events[-1], self._log)
        return last_mark(self._log, after=seen, until=ceiling.position)

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
