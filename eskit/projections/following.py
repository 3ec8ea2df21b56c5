"""Following the log: which projections read on next, and each batch in one transaction.

The rows, the checkpoint and the failure of a batch are kept together. So an event has its effect
exactly once, whatever dies when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import LogRow, RecordedEvent
from eskit.domain.upcasting import Upcasters
from eskit.errors import (
    CheckpointMismatch,
    EskitError,
    LogBroken,
    ProjectionFailed,
    ReadModelUnavailable,
    RebuildNeeded,
)
from eskit.processes.holding import Holder
from eskit.projections import bookkeeping
from eskit.projections.checkpoints import check_checkpoint, last_position, position_of_row
from eskit.projections.failures import (
    Work,
    describe,
    describe_event,
    effect_failed,
    phase_of,
    stopped_before,
)
from eskit.projections.handling import HandlerRaised, Handling, ProjectionRun
from eskit.projections.log import EventLog, is_placed
from eskit.projections.port import ReadModel
from eskit.projections.preparing import prepare
from eskit.projections.progress import ProjectionProgress, ReportProjectionProgress
from eskit.projections.records import START, EventPosition, Failure, Phase, ProjectionState
from eskit.projections.skips import failed_dead_letter
from eskit.projections.stretch import CheckpointJumped, Stretch
from eskit.projections.transient import is_transient
from eskit.slow import InHand, SlowCall, SlowCalls


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How much goes into one transaction: so many events, for about so long."""

    events: int = 2_000
    seconds: float = 0.25


class Following:
    """Some projections of one open read model on their way along the log.

    Those at the same place read the log once for all; one that lags catches up first. Only in a
    run a handler that raises is tried again; a rebuild sets no event aside either.
    """

    def __init__(
        self,
        log: EventLog,
        model: ReadModel[Any],
        runs: Sequence[ProjectionRun],
        *,
        upcasters: Upcasters,
        clock: Clock = SYSTEM_CLOCK,
        work: Work = "run",
        limits: BatchLimits | None = None,
        progress: ReportProjectionProgress | None = None,
        slow: SlowCalls | None = None,
    ) -> None:
        self.runs = list(runs)
        self.total: int | None = None
        self._log = log
        self._model = model
        self._clock = clock
        self._work = work
        self._phase = phase_of(work)
        self._limits = limits or BatchLimits()
        self._progress = progress
        self._started = clock.monotonic()
        self._slow = slow or SlowCalls(after=None)
        self._in_hand: InHand | None = None
        self._begun = 0
        self._handled_before = {run: run.events for run in self.runs}
        self._handling = Handling(
            log, model, self.runs, upcasters=upcasters, effects=work == "run", clock=clock
        )

    @property
    def seconds_to_retry(self) -> float | None:
        """How long until a projection tries again what its handler raised on; None if none does."""
        times = [
            run.retry_at
            for run in self.runs
            if run.retry_at and run.held and run.error is None and not run.paused
        ]
        return max(0.0, min(times) - self._clock.monotonic()) if times else None

    @property
    def ended(self) -> bool:
        """Whether every projection has stopped."""
        return all(run.error is not None for run in self.runs)

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
        for run in self.runs:
            if run.held and run.error is None:
                self.begin(run)

    def begin(self, run: ProjectionRun) -> None:
        """Prepare a read model and compare its checkpoint with the log.

        A projection that cannot continue stops with the reason; the others continue.
        """
        with self._watching():
            self._begin(run)
        if run.error is not None:
            self.report(run)

    def report(self, run: ProjectionRun, *, holder: Holder | None = None) -> None:
        """Tell where a projection is now, whether it has stopped, and who runs it instead."""
        self._report([run], run.checkpoint.position, holder=holder)

    def may_go_on(self, run: ProjectionRun) -> bool:
        """Whether what stopped a projection may be over: somebody decided, ran or rebuilt it."""
        state, before = bookkeeping.find_state(self._model, run.name), run.stopped_at
        if state is not None and before is not None:
            state = replace(state, pause=before.pause, has_exceptions=before.has_exceptions)
        if state != before:
            return True
        failures = bookkeeping.find_failures(self._model, run.name)
        kept = any(failure.phase == self._phase for failure in failures)
        return isinstance(run.error, ProjectionFailed) and not kept

    def look_again(self) -> None:
        """See what was decided meanwhile, such as a pause or its end, and call what is due."""
        with self._watching():
            going = [run for run in self.runs if run.held and run.error is None]
            states = bookkeeping.load_states(self._model, [run.name for run in going])
            for run, state in zip(going, states, strict=True):
                self._take_state(run, state)
            for run in (run for run in going if run.error is not None):
                self.report(run)
            for run in self.runs:
                if run.held and run.effects is not None:
                    run.effects.call_due()

    def stop_at_effects(self) -> None:
        """Stop projections of which something that is to be called has failed."""
        for run in self.runs:
            effect = run.effects.find_failed() if run.effects is not None else None
            if effect is not None and run.error is None:
                run.stop(effect_failed(effect), None)

    def run_up_to(self, until: int) -> None:
        """Handle every event up to `until`; raises what stops the first projection."""
        while self.step(until):
            pass
        for run in self.runs:
            if run.error is not None:
                raise run.error

    def step(self, until: int) -> bool:
        """Handle one batch of events up to `until`; False when there was nothing to do."""
        with self._watching():
            return self._step(until)

    def _begin(self, run: ProjectionRun) -> None:
        run.error = run.stopped_at = None
        run.forget_attempts()
        found = bookkeeping.find_state(self._model, run.name)
        try:
            state = prepare(
                self._model, run.projection, store_id=self._log.store_id, now=self._clock.now
            )
            check_checkpoint(state, self._log)
        except EskitError as error:
            if isinstance(error, ReadModelUnavailable) or is_transient(error):
                raise
            run.stop(error, found)
            run.checkpoint = found.checkpoint if found is not None else START
            return
        run.checkpoint, run.paused = state.checkpoint, self._is_paused(state)
        run.has_exceptions = state.has_exceptions
        if run.effects is not None:
            run.effects.load()
            run.effects.call_due()
        failures = bookkeeping.find_failures(self._model, run.name)
        run.failed_before = any(found.phase in {self._phase, "retry"} for found in failures)

    def _step(self, until: int) -> bool:
        group, ceiling = self._next_group(until)
        if not group:
            return False
        before = group[0].checkpoint
        try:
            events = self._read(group, before, ceiling.position)
        except LogBroken as broken:
            if broken.position <= before.position:
                self._stop_broken(group, broken)
                return True
            ceiling = EventPosition(
                broken.position, ""
            )  # what comes before is handled all the same
            events = self._read(group, before, ceiling.position)
        if len(events) == self._limits.events:
            end = position_of_row(events[-1], self._log)
        else:
            end = self._passed_all(ceiling, events, before)
        if end == before:
            return False
        self.handle(group, Stretch(start=before, events=events, end=end))
        self._report(group, until)
        return True

    # Reading

    def _next_group(self, until: int) -> tuple[list[ProjectionRun], EventPosition]:
        """The projections furthest behind, and the place where they meet others or end."""
        behind = [run for run in self.runs if run.is_going and run.checkpoint.position < until]
        lowest = min((run.checkpoint.position for run in behind), default=0)
        group = [run for run in behind if run.checkpoint.position == lowest]
        ahead = [run.checkpoint for run in behind if run.checkpoint.position > lowest]
        if is_placed(self._log):
            until = min(until, lowest + self._log.stretch)
        return group, min(
            [*ahead, EventPosition(until, "")], key=lambda at: (at.position, not at.event_id)
        )

    def _read(
        self, group: Sequence[ProjectionRun], before: EventPosition, ceiling: int
    ) -> list[LogRow]:
        types = {name for run in group for name in run.handlers}
        if not types:
            return []
        return list(
            self._log.read_log_rows(
                after=before.position,
                before=ceiling + 1,
                limit=self._limits.events,
                event_types=sorted(types),
            )
        )

    def _passed_all(
        self, ceiling: EventPosition, events: Sequence[LogRow], before: EventPosition
    ) -> EventPosition:
        """The last event of whatever type up to the ceiling, once all wanted ones are handled."""
        if ceiling.event_id:
            return ceiling
        if events and events[-1][0] == ceiling.position:
            return position_of_row(events[-1], self._log)
        return last_position(self._log, after=before, until=ceiling.position)

    def _stop_broken(self, group: Sequence[ProjectionRun], broken: LogBroken) -> None:
        """Stop who would miss events: the reason is that of their own checkpoint, if it has one."""
        for run in group:
            state = bookkeeping.find_state(self._model, run.name)
            run.stop(broken, state)
            if state is not None:
                try:
                    check_checkpoint(state, self._log)
                except CheckpointMismatch as mismatch:
                    run.stop(mismatch, state)
        self._report(group, group[0].checkpoint.position)

    # One batch

    def handle(self, group: Sequence[ProjectionRun], stretch: Stretch) -> None:
        """Handle a part of the log for projections that stand at its start.

        Together where all goes well; else each alone, so that what comes before an event on which
        its handler raises is kept.
        """
        try:
            if not any(run.attempts for run in group):
                with suppress(HandlerRaised):
                    self._handle_together(group, stretch)
                    return
            # Only now: the first error is no part of the next one's traceback.
            deadline = self._clock.monotonic() + self._limits.seconds
            for run in group:
                self._handle_alone(run, stretch.of(run.wants), deadline)
                if self._clock.monotonic() > deadline:
                    return
        except CheckpointJumped as fault:
            self._stop_at_fault(group, stretch, fault)

    def _handle_together(
        self, group: Sequence[ProjectionRun], stretch: Stretch, *, singly: bool = False
    ) -> bool:
        """One batch in one transaction; HandlerRaised, and nothing done, if a handler does.

        False if time was too short for all of it, and, with nothing done, if another process
        has moved a checkpoint meanwhile.
        """
        with self._model.transaction():
            if self._find_moved(group):
                return False
            done = self._handling.call(
                group, stretch.events, seconds=self._limits.seconds, singly=singly
            )
            passed = stretch.first(done, self._log)
            for run in group:
                self._advance(run, passed)
        types = Counter(row[2] for row in passed.events) if len(group) > 1 else {}
        for run in group:
            if run.effects is not None:  # of no other transaction: it may have been undone
                run.effects.settle()
            wanted = (
                done
                if len(group) == 1
                else sum(types[name] for name in types if name in run.handlers)
            )
            self._settle(run, wanted - (run.skip_filter.kept if run.skip_filter else 0), passed)
        return passed is stretch

    def _handle_alone(self, run: ProjectionRun, stretch: Stretch, deadline: float) -> None:
        """Handle events singly; stop before one that fails, unless it becomes a dead letter."""
        while (raised := self._handle_up_to_failure(run, stretch)) is not None:
            before = stretch.before(raised.event.global_position, self._log)
            left = stretch.after(before)
            failing = left.first(1, self._log)
            if not self._fail(run, raised, failing):
                return
            stretch = left.after(failing)
            if self._clock.monotonic() > deadline:
                return

    def _handle_up_to_failure(self, run: ProjectionRun, stretch: Stretch) -> HandlerRaised | None:
        """Handle what comes before the first event that fails; what was raised on that.

        None if nothing was, and if it did not come so far.
        """
        failed: HandlerRaised | None = None
        while stretch.start != stretch.end:
            try:
                together = self._handle_together([run], stretch, singly=True)
                return failed if together else None
            except HandlerRaised as raised:
                failed = raised
                stretch = stretch.before(raised.event.global_position, self._log)
        return failed

    def _fail(self, run: ProjectionRun, raised: HandlerRaised, failing: Stretch) -> bool:
        """Remember the failure; True if the event became a dead letter, else stop or try later.

        Whatever comes next, the failure is stored before the checkpoint moves past the event.
        """
        policy = run.projection.on_failure
        again = self._work == "run" and run.attempts < policy.retries
        phase: Phase = "retry" if again else self._phase
        failure = describe(run.name, phase, raised.event, raised.error, at=self._clock.now)
        if not again and policy.then != "stop" and self._phase == "run":
            return self._set_aside(run, raised, failure, failing)
        with self._model.transaction():
            if self._find_moved([run]) or self._is_skipped(run, raised.event):
                return False
            self._forget_failure(run)
            bookkeeping.save_failure(self._model, failure)
            state = bookkeeping.find_state(self._model, run.name)
        run.failed_before = True
        run.attempts += 1
        if again:
            run.retry_at = self._clock.monotonic() + policy.wait_after(run.attempts)
        else:
            run.stop(stopped_before(run.name, self._work, raised.event, raised.error), state)
        return False

    def _set_aside(
        self, run: ProjectionRun, raised: HandlerRaised, failure: Failure, failing: Stretch
    ) -> bool:
        """Keep the event as a dead letter and pass it, in one transaction."""
        policy = run.projection.on_failure
        letter = failed_dead_letter(
            failure,
            tenant=raised.event.tenant,
            holds_stream=policy.then == "set_aside_stream",
            attempts=run.attempts + 1,
        )
        with self._model.transaction():
            if self._find_moved([run]) or self._is_skipped(run, raised.event):
                return False
            bookkeeping.save_dead_letter(self._model, letter)
            self._advance(run, failing)
        self._settle(run, 0, failing)
        run.set_aside += 1
        return True

    def _is_skipped(self, run: ProjectionRun, event: RecordedEvent) -> bool:
        """Whether somebody has decided, while the handler was at an event, to skip it."""
        return run.has_exceptions and any(
            skip.event_id == event.event_id
            for skip in bookkeeping.find_skips(self._model, run.name)
        )

    def _find_moved(self, group: Sequence[ProjectionRun]) -> bool:
        """Whether a checkpoint is not the one that was read, or somebody paused meanwhile.

        Goes on from where it is now.
        """
        states = [bookkeeping.load_state(self._model, run.name) for run in group]
        moved = [self._take_state(run, state) for run, state in zip(group, states, strict=True)]
        return any(moved)

    def _take_state(self, run: ProjectionRun, state: ProjectionState) -> bool:
        """Go on as is remembered now; whether that differs from what was read before."""
        version = run.projection.version
        if state.version != version:
            newer = RebuildNeeded(
                f"Projection {run.name!r} was rebuilt as version {state.version}, this "
                f"process has version {version}",
                hint="Start it again with the new code.",
            )
            run.stop(newer, state)
            return True
        run.has_exceptions = state.has_exceptions
        if state.checkpoint != run.checkpoint:
            run.forget_attempts()
        before = run.checkpoint, run.paused
        run.checkpoint, run.paused = state.checkpoint, self._is_paused(state)
        return (run.checkpoint, run.paused) != before

    def _is_paused(self, state: ProjectionState) -> bool:
        """A pause keeps nobody from building rows anew."""
        return state.pause is not None and self._work != "rebuild"

    def _advance(self, run: ProjectionRun, passed: Stretch) -> None:
        """Move the checkpoint only over events that were handled, skipped or are dead letters."""
        if run.checkpoint != passed.start or passed.end.position < passed.start.position:
            raise CheckpointJumped(run.name, run.checkpoint, passed)
        bookkeeping.advance(
            self._model, run.name, before=passed.start, after=passed.end, now=self._clock.now
        )
        self._forget_failure(run)

    def _forget_failure(self, run: ProjectionRun) -> None:
        if run.failed_before:
            bookkeeping.clear_failures(self._model, run.name, self._phase, "retry")

    def _settle(self, run: ProjectionRun, handled: int, passed: Stretch) -> None:
        """Note what a committed transaction has done, and call what it wanted called."""
        run.checkpoint = passed.end
        run.failed_before = False
        run.forget_attempts()
        if run.effects is not None:
            run.effects.call_due()
        run.events += handled

    def _stop_at_fault(
        self, group: Sequence[ProjectionRun], stretch: Stretch, fault: CheckpointJumped
    ) -> None:
        """Stop the projection whose checkpoint would have jumped, and let its status say so."""
        (run,) = (run for run in group if run.name == fault.projection)
        run.stop(fault, bookkeeping.find_state(self._model, run.name))
        for event in stretch.events[:1]:
            found = self._handling.lookup.load(event[0])
            failure = describe(run.name, self._phase, found, fault, at=self._clock.now)
            with self._model.transaction():
                bookkeeping.save_failure(self._model, failure)

    # Telling

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Let a call be noticed that takes too long."""
        self._begun += 1
        with self._slow.watching(self._describe_call, at=self._find_call) as self._in_hand:
            yield

    def _find_call(self) -> object:
        calling = self._handling.lookup.calling
        return self._begun, calling and (id(calling), calling.position)

    def _describe_call(self) -> str:
        calling = self._handling.lookup.calling
        if calling is None:
            at = max(run.checkpoint.position for run in self.runs)
            names = ", ".join(run.name for run in self.runs if run.held)
            return f"The run of {names} after {at:,}"
        (name,) = (run.name for run in self.runs if run.context is calling)
        return f"The handler of {name} for {self._describe_event(calling.position)}"

    def _describe_event(self, position: int) -> str:
        try:
            event = self._log.find_event(position)
        except EskitError:
            event = None
        return f"{position:,}" if event is None else describe_event(event)

    def _report(
        self, group: Sequence[ProjectionRun], until: int, *, holder: Holder | None = None
    ) -> None:
        if self._progress is None:
            return
        for run in group:
            self._progress(
                ProjectionProgress(
                    name=run.name,
                    events=run.events - self._handled_before[run],
                    position=run.checkpoint.position,
                    head=until,
                    seconds=self.seconds,
                    total=self.total,
                    error=run.error,
                    holder=holder,
                )
            )
