"""Following the log: batches of events into read models, each with its checkpoint.

One batch is one transaction: the rows, the checkpoint of every projection in it and, when a
handler raised, its failure. So an event has its effect exactly once, whatever dies when.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from eskit.domain.events import LogRow, RecordedEvent
from eskit.domain.upcasting import Upcasters
from eskit.errors import (
    CheckpointMismatch,
    EskitError,
    LogBroken,
    ReadModelUnavailable,
    RebuildNeeded,
)
from eskit.projections.checkpoints import check_standing, last_mark, mark_of, mark_of_row
from eskit.projections.effects import Effects
from eskit.projections.failures import describe, refuse_outage, stopped_before
from eskit.projections.handling import (
    Dispatch,
    HandlerRaised,
    Subscription,
    build_dispatch,
    handle_all,
    handle_guarded,
    handler_packages,
    subscribe,
)
from eskit.projections.letters import failed_letter, load_guard
from eskit.projections.log import EventLog, Placed
from eskit.projections.lookup import EventLookup
from eskit.projections.outages import may_pass
from eskit.projections.progress import Progress, ReportProgress
from eskit.projections.projection import EventContext, Projection
from eskit.projections.readmodel import START, Failure, Mark, Phase, ReadModel


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
    guarded: bool = False
    set_aside: int = 0
    attempts: int = 0
    retry_at: float = 0.0
    stopped: EskitError | None = None
    name: str = field(init=False)
    context: EventContext = field(init=False)
    effects: Effects | None = None

    def __post_init__(self) -> None:
        self.name = self.subscription.projection.name

    @property
    def going(self) -> bool:
        """Whether it goes on now: neither stopped, paused nor waiting to try again."""
        return self.stopped is None and not self.paused and self.retry_at <= time.monotonic()

    def wants(self, row: LogRow) -> bool:
        """Whether it has a handler for the event."""
        return row[2] in self.subscription.handlers

    def count_wanted(self, types: Mapping[str, int]) -> int:
        """How many of so many events of each type it has handled."""
        return sum(types[wanted] for wanted in types if wanted in self.subscription.handlers)


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
        self._model = model
        self._upcasters = upcasters
        self._phase = phase
        self._limits = limits or BatchLimits()
        self._progress = progress
        self._dispatches: dict[tuple[Member, ...], Dispatch] = {}
        self._started = time.monotonic()
        self.total: int | None = None
        self._final = phase != "run" or rehearsal
        self.members = [Member(subscribe(projection, upcasters)) for projection in projections]
        types = {name for member in self.members for name in member.subscription.handlers}
        self._lookup = EventLookup(log, types)
        for member in self.members:
            if not self._final:
                packages = handler_packages(member.subscription.handlers.values())
                member.effects = Effects(model, member.name, packages)
            member.context = EventContext(model.db, self._lookup.find, member.effects)

    @property
    def seconds_to_retry(self) -> float | None:
        """How long until a projection tries again what its handler raised on; None if none does."""
        times = [m.retry_at for m in self.members if m.retry_at and m.stopped is None]
        return max(0.0, min(times) - time.monotonic()) if times else None

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
        """Let projections go on that are no longer paused, and call what is due."""
        for member in self.members:
            if member.paused:
                self._find_moved([member])
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
        if any(member.attempts for member in group):
            self._handle_singly(group, events, end)
        else:
            together = False
            with suppress(HandlerRaised):
                self._handle(group, events, end)
                together = True
            if not together:  # only now: the first error is no part of the next one's traceback
                self._handle_singly(group, events, end)
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

    def _handle(self, group: Sequence[Member], events: Sequence[LogRow], end: Mark) -> bool:
        """One batch in one transaction; HandlerRaised, and nothing done, if a handler does.

        False, and nothing done either, if somebody else has moved a checkpoint meanwhile.
        """
        dispatch = self._dispatch(group)
        for member in group:
            if member.effects is not None:
                member.effects.begin()
        with self._model.transaction():
            if self._find_moved(group):
                return False
            handle = handle_guarded if self._set_guards(group) else handle_all
            try:
                done = handle(dispatch, events, self._lookup, seconds=self._limits.seconds)
            except HandlerRaised as raised:
                refuse_outage(self._model, raised)
                raise
            passed = end if done == len(events) else mark_of_row(events[done - 1], self._log)
            for member in group:
                self._advance(member, passed)
        types = Counter(row[2] for row in events[:done]) if len(group) > 1 else {}
        for member in group:
            wanted = done if len(group) == 1 else member.count_wanted(types)
            guard = member.context.guard
            self._settle(member, wanted - (guard.kept if guard else 0), passed)
        return True

    def _handle_singly(self, group: Sequence[Member], events: Sequence[LogRow], end: Mark) -> None:
        """The same in a transaction for each event: who fails stops before it, the rest go on."""
        deadline = time.monotonic() + self._limits.seconds
        before = group[0].mark
        for event in events:
            for member in group:
                if member.going and member.wants(event):
                    try:
                        if not self._handle([member], [event], mark_of_row(event, self._log)):
                            return
                    except HandlerRaised as raised:
                        self._fail(member, raised, before)
            before = mark_of_row(event, self._log)
            if time.monotonic() > deadline:
                end = before
                break
        for member in group:
            if member.going and member.mark != end:
                self._handle([member], [], end)

    def _fail(self, member: Member, raised: HandlerRaised, before: Mark) -> None:
        """Keep what came before the event; then try again later, set it aside, or stop.

        Whatever comes next, the failure is stored before the checkpoint moves past the event.
        """
        policy = member.subscription.projection.on_failure
        again = not self._final and member.attempts < policy.retries
        phase: Phase = "retry" if again else self._phase
        failure = describe(member.name, phase, raised.event, raised.error)
        if not again and policy.then != "stop" and self._phase == "run":
            self._set_aside(member, raised.event, failure)
            return
        with self._model.transaction():
            if self._find_moved([member]):
                return
            if member.mark != before:
                self._model.advance(member.name, seen=member.mark, passed=before)
            self._forget_failure(member)
            self._model.save_failure(failure)
        member.mark = before
        member.failed_before = True
        member.attempts += 1
        if again:
            member.retry_at = time.monotonic() + policy.wait_after(member.attempts)
        else:
            member.stopped = stopped_before(member.name, self._phase, raised.event, raised.error)

    def _set_aside(self, member: Member, event: RecordedEvent, failure: Failure) -> None:
        """Keep the event as a dead letter and pass it, in one transaction."""
        policy = member.subscription.projection.on_failure
        letter = failed_letter(
            failure,
            tenant=event.tenant,
            holds_stream=policy.then == "set_aside_stream",
            attempts=member.attempts + 1,
        )
        with self._model.transaction():
            if self._find_moved([member]):
                return
            self._model.save_letter(letter)
            self._advance(member, mark_of(event, self._log))
        self._settle(member, 0, mark_of(event, self._log))
        member.set_aside += 1

    def _set_guards(self, group: Sequence[Member]) -> bool:
        """Look up what is set aside and skipped; whether anything is."""
        for member in group:
            member.context.guard = load_guard(self._model, member.name) if member.guarded else None
        return any(member.guarded for member in group)

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
                continue
            member.guarded = standing.guarded
            if standing.mark != member.mark or (standing.pause is not None) != member.paused:
                member.mark, member.paused = standing.mark, standing.pause is not None
                moved = True
        return moved

    def _advance(self, member: Member, passed: Mark) -> None:
        self._model.advance(member.name, seen=member.mark, passed=passed)
        self._forget_failure(member)

    def _forget_failure(self, member: Member) -> None:
        if member.failed_before:
            self._model.clear_failure(member.name, self._phase)
            self._model.clear_failure(member.name, "retry")

    def _settle(self, member: Member, handled: int, passed: Mark) -> None:
        """Note what a committed transaction has done, and call what it wanted called."""
        member.mark = passed
        member.failed_before = False
        member.attempts, member.retry_at = 0, 0.0
        if member.effects is not None:
            member.effects.settle()
            member.effects.call_due()
        member.events += handled

    def _dispatch(self, group: Sequence[Member]) -> Dispatch:
        key = tuple(group)
        if key not in self._dispatches:
            self._dispatches[key] = build_dispatch(
                [(member.subscription, member.context) for member in group],
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
