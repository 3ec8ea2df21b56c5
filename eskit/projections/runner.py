"""Running projections: up to the head of the log, or on and on, over outages of what they need."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.upcasting import Upcasters
from eskit.errors import CheckpointMismatch, EskitError
from eskit.processes.holding import Holder
from eskit.projections import bookkeeping
from eskit.projections.failures import Work
from eskit.projections.following import BatchLimits, Following
from eskit.projections.handling import ProjectionRun
from eskit.projections.locks import PATIENCE
from eskit.projections.log import EventLog
from eskit.projections.port import LiveReadModel, ReadModels
from eskit.projections.progress import (
    ProjectionProgress,
    ReportProjectionProgress,
    RunReport,
)
from eskit.projections.transient import ReportWaiting, is_transient
from eskit.slow import SlowCall, SlowCalls

# How long a run may take to notice that it should stop.
STOP_LATENCY = 0.5
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
# Between two looks at how fast it goes.
_EVERY = 1.0


class _Undone(Exception):
    """Ends a transaction of which nothing is to be kept."""


class ProjectionRunner:
    """Runs some projections.

    The caller holds their locks for `once` and `dry_run`, and lets go of them after `follow`, which
    takes them as they are free.
    """

    def __init__(
        self,
        log: EventLog,
        models: ReadModels[Any],
        runs: Sequence[ProjectionRun],
        *,
        upcasters: Upcasters,
        clock: Clock = SYSTEM_CLOCK,
        limits: BatchLimits | None = None,
        progress: ReportProjectionProgress | None = None,
        waiting: ReportWaiting | None = None,
        stop: threading.Event | None = None,
        slow: SlowCalls,
    ) -> None:
        self._log = log
        self._models = models
        self._runs = list(runs)
        self._upcasters = upcasters
        self._clock = clock
        self._limits = limits
        self._progress = progress
        self._report_waiting = waiting
        self._stop = stop or threading.Event()
        self._slow = slow
        self._following: Following | None = None
        self._started = self._told_at = clock.monotonic()
        self._told_events = dict.fromkeys(self._runs, 0)
        self._look_at = 0.0
        self._stay = self._lets_go = False
        self._waiting_for: EskitError | None = None
        self._pause = _SHORTEST_PAUSE

    def once(self) -> list[RunReport]:
        """Handle what there is up to the head as it is now. Raises what `follow` waits out."""
        with self._open() as model:
            following = self._follow(model)
            head = self._log.head_position()
            while not self._is_over(following):
                if following.step(head):
                    self._tell_rates()
                elif following.seconds_to_retry is None:
                    break
                else:
                    self._clock.wait(self._stop, _pause_before(following.seconds_to_retry))
                    following.look_again()
            following.stop_at_effects()
        return self._reports()

    def dry_run(self, *, seconds: float) -> list[RunReport]:
        """Handle what there is, for so long, and undo all of it."""
        with self._open() as model, suppress(_Undone), model.transaction():
            following = self._follow(model, work="dry run")
            head = self._log.head_position()
            while following.step(head) and following.seconds < seconds:
                pass
            raise _Undone
        return self._reports()

    def follow(self, *, stay: bool) -> list[RunReport]:
        """Go on until told to stop or, unless it is to stay, until every projection has stopped.

        One that another process runs is taken over when that lets go of it; one that has stopped is
        let go of, and taken again when somebody has decided about it. Raises what keeps it from
        beginning. Once begun it waits for a store, a read model or a NATS server that is away, and
        raises only when one of them is damaged or another.
        """
        self._stay, self._lets_go = stay, True
        for run in self._runs:
            if run.lock is not None:
                run.lock.try_acquire(patience=PATIENCE)
        self._tell(None)
        with self._open() as model:
            error = self._go_on(self._follow(model))
        while error is not None and not self._stop.is_set():
            self._wait_out(error)
            error = self._try_again()
        return self._reports()

    def heartbeat(self) -> None:
        """Tell others that this process is there, and what takes it too long; from any thread."""
        following = self._following
        self._tell(following.slow_call if following is not None else None)

    # Going on

    def _go_on(self, following: Following) -> EskitError | None:
        """Batch by batch, then wait for more; returns at the end, or with what it broke off at."""
        try:
            head = self._log.head_position()
            self._tell_going(following, self._runs)
            while not self._is_over(following):
                more = following.step(head)
                self._recover()
                self._tell_rates()
                self._take_over(following)
                if not more:
                    self._log.wait(head, _pause_before(following.seconds_to_retry))
                    head = self._log.head_position()
                    following.look_again()
        except EskitError as error:
            if not is_transient(error):
                raise
            return error
        return None

    def _try_again(self) -> EskitError | None:
        """Go on with what is there now; why that was not to be, if it was not."""
        try:
            # A file that was moved away is waited for: opening it to write would make another.
            with self._models.reader():
                pass
            with self._open() as model:
                self._refuse_replaced(model)
                return self._go_on(self._follow(model))
        except EskitError as error:
            if not is_transient(error):
                raise
            return error

    def _refuse_replaced(self, model: LiveReadModel[Any]) -> None:
        for run in self._runs:
            going = run.held and run.error is None
            if going and bookkeeping.find_state(model, run.name) is None:
                raise CheckpointMismatch(
                    f"The read model has no checkpoint for projection {run.name!r}: its "
                    "file was replaced",
                    hint="Start again: eskit rebuilds the missing rows from the log.",
                )

    def _wait_out(self, error: EskitError) -> None:
        if self._waiting_for is None:
            self._waiting_for = error
            self._tell_waiting()
        self._clock.wait(self._stop, self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _recover(self) -> None:
        """Something went well: what was waited for is there again."""
        if self._waiting_for is not None:
            self._waiting_for, self._pause = None, _SHORTEST_PAUSE
            self._tell_waiting()

    def _is_over(self, following: Following) -> bool:
        return self._stop.is_set() or (following.ended and not self._stay)

    @contextmanager
    def _open(self) -> Iterator[LiveReadModel[Any]]:
        model = self._models.open(stop=self._stop)
        try:
            yield model
        finally:
            model.close()

    def _follow(self, model: LiveReadModel[Any], *, work: Work = "run") -> Following:
        """Follow with what has not stopped yet, begun."""
        following = self._following = Following(
            self._log,
            model,
            self._runs,
            upcasters=self._upcasters,
            clock=self._clock,
            limits=self._limits,
            progress=self._hear,
            work=work,
            slow=self._slow,
        )
        following.start()
        return following

    # Locks

    def _take_over(self, following: Following) -> None:
        """Every so often take what other processes have released, and what may resume."""
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + STOP_LATENCY
        for run in self._runs:
            if (
                run.lock is None
                or run.held
                or (run.error is not None and not following.may_go_on(run))
            ):
                continue
            if run.lock.try_acquire():
                run.holder = None
                self._tell(None)
                following.begin(run)
                self._tell_going(following, [run])
            elif holder := self._find_new_holder(run):
                run.error = None
                following.report(run, holder=holder)

    def _let_go(self) -> None:
        """Leave projections that have stopped to whoever has decided, or has newer code."""
        for run in self._runs:
            if run.lock is not None and run.held and run.error is not None:
                run.lock.release()

    def _find_new_holder(self, run: ProjectionRun) -> Holder | None:
        """The process that runs a projection instead, once; None if it was told before."""
        found = run.lock.find_holder() if run.lock is not None else None
        before, run.holder = run.holder, found
        known = before.name if before is not None else ""
        return found if found is not None and found.name not in {"", known} else None

    # Telling

    def _hear(self, progress: ProjectionProgress) -> None:
        """Pass on what is told: who hears that one has stopped can run or rebuild it at once."""
        if self._lets_go:
            self._let_go()
        if self._progress is not None:
            self._progress(progress)

    def _tell_going(self, following: Following, runs: Sequence[ProjectionRun]) -> None:
        for run in runs:
            if run.held and run.error is None:
                following.report(run)

    def _tell_rates(self) -> None:
        """Tell others how fast each projection goes, about once a second."""
        now = self._clock.monotonic()
        passed = now - self._told_at
        if passed < _EVERY:
            return
        self._told_at = now
        for run in self._runs:
            run.rate = (run.events - self._told_events[run]) / passed
            self._told_events[run] = run.events
        self._tell(None)

    def _tell_waiting(self) -> None:
        """Tell others why nothing is handled, or that it is again."""
        for run in self._runs:
            run.rate = 0.0
        self._tell(None)
        if self._report_waiting is not None:
            self._report_waiting(self._waiting_for)

    def _tell(self, slow: SlowCall | None) -> None:
        waiting_for = self._waiting_for.message if self._waiting_for is not None else ""
        beats = self._slow.after is not None
        for run in self._runs:
            if run.lock is not None:
                run.lock.tell(rate=run.rate, waiting_for=waiting_for, slow=slow, beats=beats)

    def _reports(self) -> list[RunReport]:
        """What was done to each projection."""
        seconds = self._clock.monotonic() - self._started
        return [
            RunReport(
                name=run.name,
                events=run.events,
                position=run.checkpoint.position,
                seconds=seconds,
                error=run.error,
                set_aside=run.set_aside,
            )
            for run in self._runs
        ]


def _pause_before(retry: float | None) -> float:
    return STOP_LATENCY if retry is None else min(retry, STOP_LATENCY)
