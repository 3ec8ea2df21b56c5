"""Running projections: up to the head of the log, or on and on, over outages of what they need."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from eskit.domain.upcasting import Upcasters
from eskit.errors import CheckpointMismatch, EskitError
from eskit.projections.batches import BatchLimits
from eskit.projections.failures import Work
from eskit.projections.follower import Follower
from eskit.projections.locks import ProjectionLock
from eskit.projections.log import EventLog
from eskit.projections.member import Member
from eskit.projections.outages import ReportOutage, may_pass
from eskit.projections.port import LiveReadModel, ReadModels
from eskit.projections.progress import ReportProgress, RunReport
from eskit.projections.projection import Projection
from eskit.projections.tally import Tally
from eskit.slow import SlowCalls

# How long a run may take to notice that it should stop.
STOP_LATENCY = 0.5
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class Run:
    """One run of some projections.

    The caller holds the locks for `once` and `rehearse`, and lets go of them after `follow`, which
    takes them as they are free.
    """

    def __init__(
        self,
        log: EventLog,
        models: ReadModels,
        projections: Sequence[Projection],
        *,
        upcasters: Upcasters,
        locks: Sequence[ProjectionLock],
        limits: BatchLimits | None = None,
        progress: ReportProgress | None = None,
        outage: ReportOutage | None = None,
        stop: threading.Event | None = None,
        slow: SlowCalls,
    ) -> None:
        self._log = log
        self._models = models
        self._upcasters = upcasters
        self._limits = limits
        self._progress = progress
        self._tell_outage = outage
        self._stop = stop or threading.Event()
        self._projections = projections
        self._slow = slow
        self._follower: Follower | None = None
        self._tally = Tally(projections, locks, clock=models.clock, beats=slow.after is not None)
        self._look_at = 0.0
        self._stay = False
        self._outage: EskitError | None = None
        self._pause = _SHORTEST_PAUSE

    def once(self) -> list[RunReport]:
        """Handle what there is up to the head as it is now. Raises what `follow` waits out."""
        with self._opened() as model, self._following(model) as follower:
            head = self._log.head_position()
            while not self._is_over(follower):
                if follower.step(head):
                    self._tally.tell(follower)
                elif follower.seconds_to_retry is None:
                    break
                else:
                    self._models.clock.wait(self._stop, _pause_before(follower.seconds_to_retry))
                    follower.resume()
            follower.stop_at_effects()
        return self._tally.reports()

    def rehearse(self, *, seconds: float) -> list[RunReport]:
        """Handle what there is, for so long, and undo all of it."""
        with (
            self._opened() as model,
            model.rehearsing(),
            self._following(model, work="dry run") as follower,
        ):
            head = self._log.head_position()
            while follower.step(head) and follower.seconds < seconds:
                pass
        return self._tally.reports()

    def follow(self, *, stay: bool) -> list[RunReport]:
        """Go on until told to stop or, unless it is to stay, until every projection has stopped.

        One that another process runs is taken over when that lets go of it; one that has stopped is
        let go of, and taken again when somebody has decided about it. Raises what keeps it from
        beginning. Once begun it waits for a store, a read model or a NATS server that is away, and
        raises only when one of them is damaged or another.
        """
        self._stay = stay
        self._tally.take_all()
        with self._opened() as model, self._following(model) as follower:
            outage = self._go_on(follower)
        while outage is not None and not self._stop.is_set():
            self._wait_out(outage)
            outage = self._try_again()
        return self._tally.reports()

    def _try_again(self) -> EskitError | None:
        """Go on with what is there now; why that was not to be, if it was not."""
        try:
            # A file that was moved away is waited for: opening it to write would make another.
            with self._models.reader():
                pass
            with self._opened() as model:
                self._refuse_replaced(model)
                with self._following(model) as follower:
                    return self._go_on(follower)
        except EskitError as error:
            if not may_pass(error):
                raise
            return error

    def _go_on(self, follower: Follower) -> EskitError | None:
        """Batch by batch, then wait for more; returns at the end, or with what it broke off at."""
        try:
            head = self._log.head_position()
            self._tell_going(follower, follower.members)
            while not self._is_over(follower):
                more = follower.step(head)
                self._recover()
                self._tally.tell(follower)
                self._tally.let_go(follower)
                self._take_over(follower)
                if not more:
                    self._log.wait(head, _pause_before(follower.seconds_to_retry))
                    head = self._log.head_position()
                    follower.resume()
        except EskitError as error:
            if not may_pass(error):
                raise
            return error
        return None

    def _take_over(self, follower: Follower) -> None:
        """Every so often take what others have let go of, and what may go on again."""
        now = self._models.clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + STOP_LATENCY
        for member in follower.members:
            if member.held or (member.stopped is not None and not follower.may_go_on(member)):
                continue
            if self._tally.take(member):
                follower.begin(member)
                self._tell_going(follower, [member])
            elif holder := self._tally.find_holder(member):
                member.stopped = None
                follower.report(member, holder=holder)

    def _tell_going(self, follower: Follower, members: Sequence[Member]) -> None:
        for member in members:
            if member.held and member.stopped is None:
                follower.report(member)

    def beat(self) -> None:
        """Tell others that this process is there, and what takes it too long; from any thread."""
        follower = self._follower
        self._tally.beat(follower.slow_call if follower is not None else None)

    def _wait_out(self, outage: EskitError) -> None:
        if self._outage is None:
            self._outage = outage
            self._tally.tell_outage(outage.message)
            if self._tell_outage is not None:
                self._tell_outage(outage)
        self._models.clock.wait(self._stop, self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _recover(self) -> None:
        """Something went well: an outage is over."""
        if self._outage is None:
            return
        self._outage, self._pause = None, _SHORTEST_PAUSE
        self._tally.tell_outage("")
        if self._tell_outage is not None:
            self._tell_outage(None)

    def _is_over(self, follower: Follower) -> bool:
        return self._stop.is_set() or (follower.ended and not self._stay)

    def _refuse_replaced(self, model: LiveReadModel) -> None:
        for projection in self._tally.going:
            if model.find_state(projection.name) is None:
                raise CheckpointMismatch(
                    f"The read model has no checkpoint for projection {projection.name!r}: its "
                    "file was replaced",
                    hint="Start again: eskit rebuilds the missing rows from the log.",
                )

    @contextmanager
    def _opened(self) -> Iterator[LiveReadModel]:
        model = self._models.open(stop=self._stop)
        try:
            yield model
        finally:
            model.close()

    @contextmanager
    def _following(self, model: LiveReadModel, *, work: Work = "run") -> Iterator[Follower]:
        """A follower of what has not stopped yet, started; what it did is counted in the end."""
        follower = Follower(
            self._log,
            model,
            self._projections,
            upcasters=self._upcasters,
            limits=self._limits,
            progress=self._progress,
            work=work,
            slow=self._slow,
        )
        self._tally.begin(follower)
        self._follower = follower
        try:
            follower.start()
            yield follower
        finally:
            self._tally.add(follower)


def _pause_before(retry: float | None) -> float:
    return STOP_LATENCY if retry is None else min(retry, STOP_LATENCY)
