"""Batches: events into read models, each batch with its checkpoint in one transaction.

When a handler raises, its failure is in the transaction too. So an event has its effect exactly
once, whatever dies when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from eskit.domain.events import LogRow, RecordedEvent
from eskit.domain.upcasting import Upcasters
from eskit.errors import ReadModelUnavailable, RebuildNeeded
from eskit.projections.checkpoints import mark_of, mark_of_row
from eskit.projections.failures import describe, refuse_outage, stopped_before
from eskit.projections.handling import (
    Dispatch,
    HandlerRaised,
    build_dispatch,
    handle_all,
    handle_guarded,
)
from eskit.projections.letters import failed_letter, load_guard
from eskit.projections.log import EventLog
from eskit.projections.lookup import EventLookup
from eskit.projections.member import Member
from eskit.projections.readmodel import Failure, Mark, Phase, ReadModel


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How much goes into one transaction: so many events, for about so long."""

    events: int = 2_000
    seconds: float = 0.25


class Batches:
    """Writes batches of events for some members of one read model.

    With `final` a handler that raises is not tried again; a rebuild sets no event aside either.
    """

    def __init__(
        self,
        log: EventLog,
        model: ReadModel,
        *,
        upcasters: Upcasters,
        lookup: EventLookup,
        limits: BatchLimits,
        phase: Phase,
        final: bool,
    ) -> None:
        self._log = log
        self._model = model
        self._upcasters = upcasters
        self._lookup = lookup
        self._limits = limits
        self._phase = phase
        self._final = final
        self._dispatches: dict[tuple[Member, ...], Dispatch] = {}

    def handle(self, group: Sequence[Member], events: Sequence[LogRow], end: Mark) -> None:
        """Handle events up to `end` for members that stand at the same place.

        Together where all goes well; else one by one, so that what comes before an event on which
        a handler raises is kept.
        """
        if not any(member.attempts for member in group):
            with suppress(HandlerRaised):
                self._handle(group, events, end)
                return
        # Only now: the first error is no part of the next one's traceback.
        self._handle_singly(group, events, end)

    def find_moved(self, group: Sequence[Member]) -> bool:
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

    def _handle(self, group: Sequence[Member], events: Sequence[LogRow], end: Mark) -> bool:
        """One batch in one transaction; HandlerRaised, and nothing done, if a handler does.

        False, and nothing done either, if somebody else has moved a checkpoint meanwhile.
        """
        dispatch = self._dispatch(group)
        for member in group:
            if member.effects is not None:
                member.effects.begin()
        with self._model.transaction():
            if self.find_moved(group):
                return False
            handle = handle_guarded if self._set_guards(group) else handle_all
            try:
                done = handle(
                    dispatch,
                    events,
                    self._lookup,
                    seconds=self._limits.seconds,
                    clock=self._model.clock,
                )
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
        deadline = self._model.clock.monotonic() + self._limits.seconds
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
            if self._model.clock.monotonic() > deadline:
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
        failure = describe(member.name, phase, raised.event, raised.error, at=self._model.clock.now)
        if not again and policy.then != "stop" and self._phase == "run":
            self._set_aside(member, raised.event, failure)
            return
        with self._model.transaction():
            if self.find_moved([member]):
                return
            if member.mark != before:
                self._model.advance(member.name, seen=member.mark, passed=before)
            self._forget_failure(member)
            self._model.save_failure(failure)
        member.mark = before
        member.failed_before = True
        member.attempts += 1
        if again:
            member.retry_at = self._model.clock.monotonic() + policy.wait_after(member.attempts)
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
            if self.find_moved([member]):
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
