"""Batches: events into read models, each batch with its checkpoint in one transaction.

When a handler raises, its failure is in the transaction too. So an event has its effect exactly
once, whatever dies when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from eskit.domain.events import LogRow, RecordedEvent
from eskit.domain.upcasting import Upcasters
from eskit.errors import ProjectionError, ReadModelUnavailable, RebuildNeeded
from eskit.projections.checkpoints import position_of_row
from eskit.projections.failures import Work, describe, phase_of, refuse_outage, stopped_before
from eskit.projections.handling import (
    Dispatch,
    HandlerRaised,
    build_dispatch,
    handle_all,
    handle_filtered,
)
from eskit.projections.log import EventLog
from eskit.projections.lookup import EventLookup
from eskit.projections.member import Member
from eskit.projections.port import ReadModel
from eskit.projections.records import EventPosition, Failure, Phase
from eskit.projections.skips import failed_letter, load_skip_filter


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How much goes into one transaction: so many events, for about so long."""

    events: int = 2_000
    seconds: float = 0.25


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
            f"Projection {projection!r} stands at {stands.position:,} and would have passed "
            f"{stretch.start.position:,} to {stretch.end.position:,}: that is a fault of eskit",
            hint="Report it. No event was skipped, the rows are right up to there; a restart "
            "goes on from there.",
        )
        self.projection = projection


class Batches:
    """Writes batches of events for some members of one read model.

    Only in a run a handler that raises is tried again; a rebuild sets no event aside either.
    """

    def __init__(
        self,
        log: EventLog,
        model: ReadModel,
        *,
        upcasters: Upcasters,
        lookup: EventLookup,
        limits: BatchLimits,
        work: Work,
    ) -> None:
        self._log = log
        self._model = model
        self._upcasters = upcasters
        self._lookup = lookup
        self._limits = limits
        self._work = work
        self._phase = phase_of(work)
        self._dispatches: dict[tuple[Member, ...], Dispatch] = {}

    def handle(self, group: Sequence[Member], stretch: Stretch) -> None:
        """Handle a part of the log for members that stand at its start.

        Together where all goes well; else each alone, so that what comes before an event on which
        its handler raises is kept.
        """
        try:
            if not any(member.attempts for member in group):
                with suppress(HandlerRaised):
                    self._handle(group, stretch)
                    return
            # Only now: the first error is no part of the next one's traceback.
            deadline = self._model.clock.monotonic() + self._limits.seconds
            for member in group:
                self._handle_alone(member, stretch.of(member.wants), deadline)
                if self._model.clock.monotonic() > deadline:
                    return
        except CheckpointJumped as fault:
            self._stop_at_fault(group, stretch, fault)

    def find_moved(self, group: Sequence[Member]) -> bool:
        """Whether a checkpoint is not the one that was read, or somebody paused meanwhile.

        Goes on from where it is now.
        """
        moved = False
        for member in group:
            state = self._model.find_state(member.name)
            if state is None:
                raise ReadModelUnavailable(
                    f"The read model has no checkpoint for projection {member.name!r}",
                    hint="Start again: its file was replaced.",
                )
            version = member.subscription.projection.version
            if state.version != version:
                newer = RebuildNeeded(
                    f"Projection {member.name!r} was rebuilt as version {state.version}, this "
                    f"process has version {version}",
                    hint="Start it again with the new code.",
                )
                member.stop(newer, state)
                moved = True
                continue
            member.has_exceptions = state.has_exceptions
            if (
                state.checkpoint != member.checkpoint
            ):  # what was to be tried again is passed, or not reached
                member.attempts, member.retry_at = 0, 0.0
            if state.checkpoint != member.checkpoint or (state.pause is not None) != member.paused:
                member.checkpoint, member.paused = state.checkpoint, state.pause is not None
                moved = True
        return moved

    def _handle(self, group: Sequence[Member], stretch: Stretch) -> bool:
        """One batch in one transaction; HandlerRaised, and nothing done, if a handler does.

        False if time was too short for all of it, and, with nothing done, if somebody else has
        moved a checkpoint meanwhile.
        """
        dispatch = self._dispatch(group)
        for member in group:
            if member.effects is not None:
                member.effects.begin()
        with self._model.transaction():
            if self.find_moved(group):
                return False
            handle = handle_filtered if self._set_filters(group) else handle_all
            try:
                done = handle(
                    dispatch,
                    stretch.events,
                    self._lookup,
                    seconds=self._limits.seconds,
                    clock=self._model.clock,
                )
            except HandlerRaised as raised:
                refuse_outage(self._model, raised)
                raise
            passed = stretch.first(done, self._log)
            for member in group:
                self._advance(member, passed)
        for member in group:
            if member.effects is not None:  # of no other transaction: it may have been undone
                member.effects.settle()
        types = Counter(row[2] for row in passed.events) if len(group) > 1 else {}
        for member in group:
            wanted = done if len(group) == 1 else member.count_wanted(types)
            skip_filter = member.context.skip_filter
            self._settle(member, wanted - (skip_filter.kept if skip_filter else 0), passed)
        return passed is stretch

    def _handle_alone(self, member: Member, stretch: Stretch, deadline: float) -> None:
        """Handle what can be; before an event that fails it stops, unless that is set aside."""
        while (raised := self._handle_up_to_failure(member, stretch)) is not None:
            before = stretch.before(raised.event.global_position, self._log)
            left = stretch.after(before)
            failing = left.first(1, self._log)
            if not self._fail(member, raised, failing):
                return
            stretch = left.after(failing)
            if self._model.clock.monotonic() > deadline:
                return

    def _handle_up_to_failure(self, member: Member, stretch: Stretch) -> HandlerRaised | None:
        """Handle what comes before the first event that fails; what was raised on that.

        None if nothing was, and if it did not come so far.
        """
        failed: HandlerRaised | None = None
        while stretch.start != stretch.end:
            try:
                return failed if self._handle([member], stretch) else None
            except HandlerRaised as raised:
                failed = raised
                stretch = stretch.before(raised.event.global_position, self._log)
        return failed

    def _fail(self, member: Member, raised: HandlerRaised, failing: Stretch) -> bool:
        """Remember the failure; whether the event was set aside, else stop or try again later.

        Whatever comes next, the failure is stored before the checkpoint moves past the event.
        """
        clock = self._model.clock
        policy = member.subscription.projection.on_failure
        again = self._work == "run" and member.attempts < policy.retries
        phase: Phase = "retry" if again else self._phase
        failure = describe(member.name, phase, raised.event, raised.error, at=clock.now)
        if not again and policy.then != "stop" and self._phase == "run":
            return self._set_aside(member, raised, failure, failing)
        with self._model.transaction():
            if self.find_moved([member]) or self._is_skipped(member, raised.event):
                return False
            self._forget_failure(member)
            self._model.save_failure(failure)
            state = self._model.find_state(member.name)
        member.failed_before = True
        member.attempts += 1
        if again:
            member.retry_at = clock.monotonic() + policy.wait_after(member.attempts)
        else:
            error = stopped_before(member.name, self._work, raised.event, raised.error)
            member.stop(error, state)
        return False

    def _set_aside(
        self, member: Member, raised: HandlerRaised, failure: Failure, failing: Stretch
    ) -> bool:
        """Keep the event as a dead letter and pass it, in one transaction."""
        policy = member.subscription.projection.on_failure
        letter = failed_letter(
            failure,
            tenant=raised.event.tenant,
            holds_stream=policy.then == "set_aside_stream",
            attempts=member.attempts + 1,
        )
        with self._model.transaction():
            if self.find_moved([member]) or self._is_skipped(member, raised.event):
                return False
            self._model.save_dead_letter(letter)
            self._advance(member, failing)
        self._settle(member, 0, failing)
        member.set_aside += 1
        return True

    def _is_skipped(self, member: Member, event: RecordedEvent) -> bool:
        """Whether somebody has decided, while the handler was at an event, to skip it."""
        return member.has_exceptions and any(
            skip.event_id == event.event_id for skip in self._model.find_skips(member.name)
        )

    def _stop_at_fault(
        self, group: Sequence[Member], stretch: Stretch, fault: CheckpointJumped
    ) -> None:
        """Stop the projection whose checkpoint would have jumped, and let its status say so."""
        (member,) = (member for member in group if member.name == fault.projection)
        member.stop(fault, self._model.find_state(member.name))
        for event in stretch.events[:1]:
            failure = describe(
                member.name,
                self._phase,
                self._lookup.load(event[0]),
                fault,
                at=self._model.clock.now,
            )
            with self._model.transaction():
                self._model.save_failure(failure)

    def _set_filters(self, group: Sequence[Member]) -> bool:
        """Look up what is set aside and skipped; whether anything is."""
        for member in group:
            member.context.skip_filter = (
                load_skip_filter(self._model, member.name) if member.has_exceptions else None
            )
        return any(member.has_exceptions for member in group)

    def _advance(self, member: Member, passed: Stretch) -> None:
        """Move the checkpoint over events that were handled, kept back or set aside: no others."""
        if member.checkpoint != passed.start or passed.end.position < passed.start.position:
            raise CheckpointJumped(member.name, member.checkpoint, passed)
        self._model.advance(member.name, seen=passed.start, passed=passed.end)
        self._forget_failure(member)

    def _forget_failure(self, member: Member) -> None:
        if member.failed_before:
            self._model.clear_failure(member.name, self._phase)
            self._model.clear_failure(member.name, "retry")

    def _settle(self, member: Member, handled: int, passed: Stretch) -> None:
        """Note what a committed transaction has done, and call what it wanted called."""
        member.checkpoint = passed.end
        member.failed_before = False
        member.attempts, member.retry_at = 0, 0.0
        if member.effects is not None:
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
