"""Running, rebuilding and inspecting the projections of an app."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Generic

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.upcasting import Upcasters
from eskit.errors import (
    InvalidArgument,
    ProjectionBusy,
    ProjectionError,
    RebuildNeeded,
)
from eskit.projections import bookkeeping, control, dead_letters
from eskit.projections.control import CheckpointChange, CheckpointRepair
from eskit.projections.database import Db
from eskit.projections.dead_letters import RetryReport
from eskit.projections.diff import compare_with_live, load_state
from eskit.projections.differences import ProjectionDifference
from eskit.projections.following import BatchLimits
from eskit.projections.handling import ProjectionRun, find_handlers
from eskit.projections.locks import ProjectionLock, lock_of
from eskit.projections.log import EventLog
from eskit.projections.opening import open_read_models, to_checkpoint
from eskit.projections.parking import Parking
from eskit.projections.port import Activity, LiveReadModel, ReadModels
from eskit.projections.preparing import check
from eskit.projections.progress import RebuildEstimate, ReportProjectionProgress, RunReport
from eskit.projections.projection import Projection
from eskit.projections.rebuild import Rebuild
from eskit.projections.records import Decision, ProjectionDeadLetter, Skip
from eskit.projections.runner import STOP_LATENCY, ProjectionRunner
from eskit.projections.status import ProjectionStatus, find_problem, load_status
from eskit.projections.transient import ReportWaiting
from eskit.projections.waiting import CheckpointWaiter
from eskit.slow import SLOW_AFTER, SlowCall, SlowCalls
from eskit.store.records import Checkpoint


class ProjectionEngine(Generic[Db]):
    """The projections of an app over one log and one place of read models. Thread-safe.

    The read models are given by URL, or already open.
    """

    def __init__(
        self,
        log: EventLog,
        projections: Sequence[Projection[Db]],
        read_models: str | ReadModels[Db],
        *,
        upcasters: Upcasters | None = None,
        clock: Clock = SYSTEM_CLOCK,
        slow_after: float | None = SLOW_AFTER,
    ) -> None:
        self._log = log
        self._projections = {projection.name: projection for projection in projections}
        self._models = (
            open_read_models(read_models, clock=clock)
            if isinstance(read_models, str)
            else read_models
        )
        self._clock = clock
        self._upcasters = upcasters or Upcasters()
        self._prepared = False
        self._parking = Parking(self._models, clock=clock)
        self._waiting = CheckpointWaiter(
            log, self._models, moved=self._parking.announce, clock=clock
        )
        self._slow = SlowCalls(after=slow_after, clock=clock, on_tick=self._beat)
        self._runs: set[ProjectionRunner] = set()
        self._rebuilds: dict[Rebuild, ProjectionLock] = {}
        self._mutex = threading.Lock()

    def run(
        self,
        names: Sequence[str] | None = None,
        *,
        once: bool = True,
        stay: bool = False,
        limits: BatchLimits | None = None,
        stop: threading.Event | None = None,
        progress: ReportProjectionProgress | None = None,
        waiting: ReportWaiting | None = None,
    ) -> list[RunReport]:
        """Handle what is new: up to the head as it is now, or on and on until `stop` is set.

        A projection whose handler raises stops before that event, the others continue; `progress`
        is told at once. Raises at the end ProjectionFailed, RebuildNeeded, CheckpointMismatch or
        MigrationInvalid, for the first that stopped. A paused projection stays where it is; naming
        it raises PROJECTION_PAUSED.

        With `once` raises ProjectionBusy if another process runs one of them. Without, it stands by
        for that one and takes it over when it can; it lets go of one that has stopped, and takes
        it again when somebody has decided about what stopped it. It ends when all have stopped,
        unless it is to `stay`. For a store, a read model or a NATS server that goes away on the way
        it waits: `waiting` is called with the reason, once, and with None when it resumes.
        """
        reports = self.run_each(
            names,
            once=once,
            stay=stay,
            limits=limits,
            stop=stop,
            progress=progress,
            waiting=waiting,
        )
        for report in reports:
            if report.error is not None:
                raise report.error
        return reports

    def run_each(
        self,
        names: Sequence[str] | None = None,
        *,
        once: bool = True,
        stay: bool = False,
        limits: BatchLimits | None = None,
        stop: threading.Event | None = None,
        progress: ReportProjectionProgress | None = None,
        waiting: ReportWaiting | None = None,
    ) -> list[RunReport]:
        """The same, but a projection that stopped is reported with its `error`, not raised."""
        projections = self._select(names)
        for name in names or ():
            self._refuse_paused(name)
        with ExitStack() as stack:
            run = self._prepare_run(
                stack,
                projections,
                held=once,
                limits=limits,
                stop=stop,
                progress=progress,
                waiting=waiting,
            )
            return run.once() if once else run.follow(stay=stay)

    def dry_run(
        self, names: Sequence[str] | None = None, *, seconds: float = 10.0
    ) -> list[RunReport]:
        """Handle what is new, for so long, and undo all of it: would it go well?

        Nobody else can write to the read model meanwhile. Raises ProjectionBusy like `run`.
        """
        with ExitStack() as stack:
            run = self._prepare_run(stack, self._select(names), held=True)
            return run.dry_run(seconds=seconds)

    def catch_up(
        self,
        names: Sequence[str] | None = None,
        *,
        until: int | None = None,
        timeout: float = 30.0,
    ) -> None:
        """Bring projections to a position, waiting for who runs them already.

        By default to the head as it is now. Raises what `run` raises, also where nothing is left
        to do: CheckpointMismatch when the rows are of another log. Raises PROJECTION_PAUSED,
        ProjectionBusy when the runner takes longer than `timeout`, and InvalidArgument for a
        position past the head.
        """
        head = self._log.head_position()
        target = head if until is None else until
        if target > head:
            raise InvalidArgument(
                f"Position {target:,} is past the end of the log, {head:,}",
                hint="Ask for a position that an event has, such as that of a command's reply.",
            )
        deadline = self._clock.monotonic() + timeout
        for projection in self._select(names):
            while not self._waiting.has_passed(projection.name, target):
                self._refuse_paused(projection.name)
                try:
                    (report,) = self.run_each([projection.name])
                    if report.error and not self._waiting.has_passed(projection.name, target):
                        raise report.error
                    break
                except ProjectionBusy as busy:
                    remaining = deadline - self._clock.monotonic()
                    if remaining <= 0:
                        raise ProjectionBusy(
                            f"Projection {projection.name!r} has not passed {target:,} within "
                            f"{timeout:g} s. {busy.message}",
                            hint=f"See how far it is: eskit project status {projection.name}",
                        ) from busy
                    self.wait_for(projection.name, target, min(remaining, STOP_LATENCY))

    def try_catch_up(self, names: Sequence[str], *, until: int) -> bool:
        """Bring projections to a position; False if another process runs one that is behind."""
        try:
            self.catch_up(names, until=until, timeout=0)
        except ProjectionBusy:
            return False
        return True

    def when_passed(
        self, names: Sequence[str], position: int, timeout: float, then: Callable[[], object]
    ) -> None:
        """Call `then` once, from another thread, when it is worth trying to catch up again.

        At the latest after `timeout` seconds. Until then no thread waits.
        """
        self._parking.park(names, position, timeout, then)

    def rebuild(
        self,
        name: str,
        *,
        in_place: bool = False,
        progress: ReportProjectionProgress | None = None,
        stop: threading.Event | None = None,
    ) -> RunReport:
        """Rebuild the rows of a projection, and swap them with the live ones at once.

        Goes on where an interrupted rebuild was. Raises ProjectionFailed, with the live rows
        untouched, on the first handler error, REBUILD_STOPPED once `stop` is set, and
        ProjectionBusy during another rebuild. `in_place` needs no second file: it makes the rows
        again in one long transaction, during which no projection of the file can continue.
        """
        (projection,) = self._select([name])
        with ExitStack() as stack:
            lock = stack.enter_context(self._lock(name, "rebuild"))
            if in_place:
                stack.enter_context(self._lock(name, "run"))
            rebuild = Rebuild(
                self._log,
                stack.enter_context(self._open()),
                projection,
                upcasters=self._upcasters,
                clock=self._clock,
                progress=progress,
                stop=stop,
                slow=self._slow,
            )
            stack.enter_context(self._telling(lock, rebuild))
            report = rebuild.run_in_place() if in_place else rebuild.run()
        self._waiting.announce()
        return report

    def needs_rebuild(self, name: str) -> bool:
        """Whether the code has a version or migration that needs a rebuild."""
        (projection,) = self._select([name])
        try:
            check(self._models, projection)
        except RebuildNeeded:
            return True
        return False

    def estimate_rebuild(self, name: str, *, seconds: float = 0.5) -> RebuildEstimate:
        """How long a rebuild will take, by the rate measured for so long; changes nothing."""
        (projection,) = self._select([name])
        with self._lock(name, "rebuild"), self._open() as live:
            rebuild = Rebuild(
                self._log, live, projection, upcasters=self._upcasters, clock=self._clock
            )
            return rebuild.estimate(seconds=seconds)

    def diff(
        self, name: str, *, examples: int = 20, progress: ReportProjectionProgress | None = None
    ) -> ProjectionDifference:
        """Do the live rows equal what their events make with the code of today?

        Builds the rows aside and compares them table by table at one position; changes nothing.
        Raises ProjectionFailed when a handler does, RebuildNeeded and CheckpointMismatch.
        """
        (projection,) = self._select([name])
        load_state(self._models, projection)  # opening would make what is not there
        with self._lock(name, "diff"), self._open() as live:
            return compare_with_live(
                self._log,
                live,
                projection,
                upcasters=self._upcasters,
                examples=examples,
                progress=progress,
                clock=self._clock,
                slow=self._slow,
            )

    def status(self, names: Sequence[str] | None = None) -> list[ProjectionStatus]:
        """Where projections stand, by name; reads only."""
        return [
            load_status(self._log, self._models, projection, self._upcasters, self._clock)
            for projection in sorted(self._select(names), key=lambda found: found.name)
        ]

    def problems(self) -> dict[str, str]:
        """Why projections are not well, by name, from what is stored of them; cheap to ask."""
        found = {
            name: find_problem(self._log, self._models, projection)
            for name, projection in self._projections.items()
        }
        return {name: problem for name, problem in found.items() if problem}

    def slow_calls(self) -> list[SlowCall]:
        """The handlers of this process that take longer than they should, now."""
        return self._slow.find()

    def wait_for(self, name: str, position: int, timeout: float) -> bool:
        """Wait until a projection has passed a position; False if it has not in time.

        Raises ProjectionFailed if it stopped before, CheckpointMismatch if it passed the position
        in another log.
        """
        self._select([name])
        return self._waiting.wait_for(name, position, timeout)

    def pause(self, name: str, *, reason: str, by: str) -> None:
        """Let nobody run a projection until it is resumed; a runner stops after its batch."""
        self._select([name])
        control.pause(self._models, name, reason=reason, by=by, clock=self._clock)

    def resume(self, name: str, *, reason: str, by: str) -> None:
        """Resume a paused projection; a waiting runner notices by itself."""
        self._select([name])
        control.resume(self._models, name, reason=reason, by=by, clock=self._clock)

    def repair_checkpoints(self, *, by: str, dry_run: bool = False) -> list[CheckpointRepair]:
        """Let projections that followed the original of this log resume, as far as they can.

        Those whose last event the log does not have are told of, and have to be rebuilt.
        """
        names = sorted(projection.name for projection in self._select(None))
        return control.repair_checkpoints(
            self._log, self._models, names, by=by, dry_run=dry_run, clock=self._clock
        )

    def set_checkpoint(
        self, name: str, position: int, *, reason: str, by: str, dry_run: bool = False
    ) -> CheckpointChange:
        """Let a projection resume after another position; 0 is the beginning. The rows stay.

        Events passed again have their effect again, events jumped over have none: `dry_run` tells
        how many. Raises InvalidArgument for a position past the head.
        """
        (projection,) = self._select([name])
        types = sorted(find_handlers(projection, self._upcasters))
        return control.set_checkpoint(
            self._log,
            self._models,
            name,
            position,
            types,
            reason=reason,
            by=by,
            dry_run=dry_run,
            clock=self._clock,
        )

    def dead_letters(self, name: str) -> list[ProjectionDeadLetter]:
        """Events that wait for a decision, by position: dead letters, or one that stopped it."""
        self._select([name])
        return dead_letters.list_dead_letters(self._models, name)

    def load_dead_letter(self, name: str, event: str) -> ProjectionDeadLetter:
        """The letter of an event, by position or id; NotFound if it does not wait."""
        self._select([name])
        return dead_letters.load_dead_letter(self._models, name, event)

    def retry_dead_letter(
        self, letter: ProjectionDeadLetter, *, reason: str, by: str
    ) -> RetryReport:
        """Handle a dead letter, and the events that wait behind it in its stream.

        Raises ProjectionFailed when the handler does again, and ProjectionBusy when the letter is
        no longer as it was looked up.
        """
        (projection,) = self._select([letter.projection])
        with self._slow.watching(lambda: f"The handler of {projection.name} for {letter.text}"):
            return dead_letters.retry(
                self._log,
                self._models,
                projection,
                letter,
                upcasters=self._upcasters,
                reason=reason,
                by=by,
                clock=self._clock,
            )

    def skip_event(self, letter: ProjectionDeadLetter, *, reason: str, by: str) -> Skip:
        """Never handle an event in its projection, also not in a rebuild; ProjectionBusy as above.

        It may be a dead letter, or the one before which the projection stopped.
        """
        self._select([letter.projection])
        return dead_letters.skip(self._models, letter, reason=reason, by=by, clock=self._clock)

    def skips(self, name: str) -> list[Skip]:
        """The events that a projection skips by decision, by position."""
        self._select([name])
        return bookkeeping.find_skips(self._models, name)

    def decisions(self, name: str) -> list[Decision]:
        """Who paused, resumed or set the checkpoint of a projection, when and why."""
        self._select([name])
        return bookkeeping.list_decisions(self._models, name)

    @property
    def store_id(self) -> str:
        """The store whose log it is."""
        return self._log.store_id

    def head_position(self) -> int:
        """The position of the last event of the log; 0 for an empty one."""
        return self._log.head_position()

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints in the read models, by name, also of projections that are no more."""
        return list(map(to_checkpoint, bookkeeping.list_states(self._models)))

    def prepare(self) -> None:
        """Make the read model, without rows, unless there is one."""
        if not self._prepared:
            self._models.open().close()
            self._prepared = True

    def reader(self) -> AbstractContextManager[Db]:
        """One moment of the read models, for queries; ReadModelUnavailable if there are none."""
        return self._models.reader()

    def close(self) -> None:
        """Let go of every connection; idempotent."""
        self._models.close()

    def _prepare_run(
        self,
        stack: ExitStack,
        projections: Sequence[Projection[Db]],
        *,
        held: bool,
        limits: BatchLimits | None = None,
        stop: threading.Event | None = None,
        progress: ReportProjectionProgress | None = None,
        waiting: ReportWaiting | None = None,
    ) -> ProjectionRunner:
        """A runner whose projections are locked, or are to be; while the stack is open."""
        runs = [self._make_run(projection) for projection in projections]
        for run in runs:
            if run.lock is not None:
                stack.callback(run.lock.release)
                if held:
                    run.lock.acquire()
        runner = ProjectionRunner(
            self._log,
            self._models,
            runs,
            upcasters=self._upcasters,
            clock=self._clock,
            limits=limits,
            progress=self._waiting.announcing(progress),
            waiting=waiting,
            stop=stop,
            slow=self._slow,
        )
        stack.callback(self._forget, runner)
        with self._mutex:
            self._runs.add(runner)
        stack.enter_context(self._beating())
        return runner

    def _beating(self) -> AbstractContextManager[object]:
        """Look after what is in hand, and tell others that this process is there, in the block."""
        # Whenever it is looked at it is at something new, so that it is never slow itself.
        return self._slow.watching(lambda: "", at=object)

    @contextmanager
    def _telling(self, lock: ProjectionLock, rebuild: Rebuild) -> Iterator[None]:
        """Tell others how a rebuild gets on."""
        with self._mutex:
            self._rebuilds[rebuild] = lock
        try:
            with self._beating():
                self._beat()
                yield
        finally:
            with self._mutex:
                del self._rebuilds[rebuild]

    def _make_run(self, projection: Projection[Db]) -> ProjectionRun:
        return ProjectionRun(
            projection,
            find_handlers(projection, self._upcasters),
            lock=self._lock(projection.name, "run"),
            clock=self._clock,
        )

    def _lock(self, name: str, activity: Activity) -> ProjectionLock:
        return lock_of(self._models, name, activity, clock=self._clock)

    @contextmanager
    def _open(self) -> Iterator[LiveReadModel[Db]]:
        live = self._models.open()
        try:
            yield live
        finally:
            live.close()

    def _forget(self, runner: ProjectionRunner) -> None:
        with self._mutex:
            self._runs.discard(runner)

    def _beat(self) -> None:
        with self._mutex:
            runs, rebuilds = list(self._runs), list(self._rebuilds.items())
        for run in runs:
            run.heartbeat()
        for rebuild, lock in rebuilds:
            slow, beats = rebuild.slow_call, self._slow.after is not None
            lock.tell(rate=0.0, waiting_for="", slow=slow, beats=beats)

    def _select(self, names: Sequence[str] | None) -> list[Projection[Db]]:
        if names is None:
            return list(self._projections.values())
        for name in names:
            if name not in self._projections:
                raise ProjectionError(
                    f"No projection {name!r}",
                    code="PROJECTION_NOT_FOUND",
                    hint=f"Projections here: {', '.join(sorted(self._projections)) or 'none'}.",
                )
        return [self._projections[name] for name in dict.fromkeys(names)]

    def _refuse_paused(self, name: str) -> None:
        state = bookkeeping.find_state(self._models, name)
        if state is not None and state.pause is not None:
            raise ProjectionError(
                f"Projection {name!r} is paused: {state.pause}",
                code="PROJECTION_PAUSED",
                hint=f"Resume it: eskit project resume {name}",
            )
