"""Building a read model anew beside the live one, then swapping the two at once.

A rebuild that is killed goes on where it was; one that fails leaves the live rows untouched.
"""

from __future__ import annotations

import hashlib
import inspect
import platform
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import eskit
from eskit.domain.events import LogRow
from eskit.domain.ids import new_id
from eskit.domain.upcasting import Upcasters
from eskit.errors import EskitError, ProjectionBusy, ProjectionError, ProjectionFailed
from eskit.projections.batches import BatchLimits
from eskit.projections.checkpoints import check_checkpoint, last_position
from eskit.projections.failures import Work, describe, refuse_outage, stopped_before
from eskit.projections.follower import Follower
from eskit.projections.handling import (
    HandlerRaised,
    build_dispatch,
    handle_filtered,
    handler_packages,
    subscribe,
)
from eskit.projections.log import EventLog, count_erasures
from eskit.projections.lookup import EventLookup
from eskit.projections.port import LiveReadModel, ReadModel
from eskit.projections.progress import RebuildEstimate, ReportProgress, RunReport
from eskit.projections.projection import EventContext, Handler, Projection
from eskit.projections.records import Failure, Skip
from eskit.projections.skips import load_skip_filter, skip_all
from eskit.slow import SlowCall, SlowCalls

# How often to look whether events have arrived meanwhile before the rest is left to the exchange.
_ROUNDS = 5


class Rebuild:
    """One rebuild of one projection; the caller holds its lock."""

    def __init__(
        self,
        log: EventLog,
        live: LiveReadModel,
        projection: Projection,
        *,
        upcasters: Upcasters,
        limits: BatchLimits | None = None,
        progress: ReportProgress | None = None,
        stop: threading.Event | None = None,
        slow: SlowCalls | None = None,
    ) -> None:
        self._log = log
        self._live = live
        self._projection = projection
        self._upcasters = upcasters
        self._limits = limits or BatchLimits(events=10_000, seconds=1.0)
        self._progress = progress
        self._stop = stop or threading.Event()
        self._slow = slow
        self._subscription = subscribe(projection, upcasters)
        self._follower: Follower | None = None

    def run(self) -> RunReport:
        """Build aside up to the head, exchange, and clear away what was built aside.

        Raises ProjectionFailed or, told to stop, REBUILD_STOPPED with the live rows as they were.
        """
        started = self._live.clock.monotonic()
        skips = self._live.find_skips(self._projection.name)
        erasures = count_erasures(self._log)
        shadow = self._live.open_shadow(
            self._projection,
            "rebuild",
            fingerprint=f"{code_fingerprint(self._projection, skips)} {erasures}",
            store_id=self._log.store_id,
        )
        try:
            skip_all(shadow, skips)
            handled = self._build(shadow)
            shadow.check_rows(self._projection.name)
        finally:
            shadow.close()
        late, position = self._swap(skips, erasures)
        self._live.discard_shadow(self._projection.name, "rebuild")
        return RunReport(
            name=self._projection.name,
            events=handled + late,
            position=position,
            seconds=self._live.clock.monotonic() - started,
            skipped=len(skips),
        )

    def run_in_place(self) -> RunReport:
        """Empty the rows and make them again, in one long transaction on the live database.

        Readers see the old rows until it is done; nobody else can write to the file meanwhile, and
        what is interrupted begins anew.
        """
        started = self._live.clock.monotonic()
        name = self._projection.name
        failures: list[Failure] = []
        erasures = count_erasures(self._log)
        try:
            with self._live.emptied(self._projection):
                handled = self._build(self._live, failures)
                self._refuse_other_erasures(erasures)
                state = self._live.find_state(name)
        except ProjectionFailed:
            with self._live.transaction():
                for failure in failures:
                    self._live.save_failure(failure)
            raise
        return RunReport(
            name=name,
            events=handled,
            position=state.checkpoint.position if state else 0,
            seconds=self._live.clock.monotonic() - started,
            skipped=len(self._live.find_skips(name)),
        )

    def estimate(self, *, seconds: float) -> RebuildEstimate:
        """Handle events aside for so long, to know the rate; what that made is thrown away.

        Raises ProjectionFailed if a handler does so soon.
        """
        name = self._projection.name
        shadow = self._live.open_shadow(
            self._projection, "estimate", fingerprint=new_id(), store_id=self._log.store_id
        )
        try:
            skip_all(shadow, self._live.find_skips(name))
            head = self._log.head_position()
            follower = self._follow(
                shadow, BatchLimits(events=1_000, seconds=seconds), work="estimate"
            )
            (member,) = follower.members
            while follower.step(head) and follower.seconds < seconds:
                pass
            if member.stopped is not None:
                raise member.stopped
        finally:
            shadow.close()
            self._live.discard_shadow(name, "estimate")
        return RebuildEstimate(
            name=name,
            events=self._count(0, head),
            rate=member.events / follower.seconds,
            measured=member.events,
        )

    def _follow(
        self, shadow: ReadModel, limits: BatchLimits, *, work: Work = "rebuild"
    ) -> Follower:
        follower = Follower(
            self._log,
            shadow,
            [self._projection],
            upcasters=self._upcasters,
            work=work,
            limits=limits,
            progress=self._progress,
            slow=self._slow,
        )
        self._follower = follower
        follower.start()
        return follower

    @property
    def slow_call(self) -> SlowCall | None:
        """What it has been in for too long, if it is; also for other threads to ask."""
        return self._follower.slow_call if self._follower is not None else None

    def _build(self, shadow: ReadModel, failures: list[Failure] | None = None) -> int:
        """Follow the log into the rows aside; how many events that took this time."""
        head = self._log.head_position()
        follower = self._follow(shadow, self._limits)
        (member,) = follower.members
        follower.total = self._count(member.checkpoint.position, head)
        for _ in range(_ROUNDS):
            while follower.step(head):
                self._refuse_stopped(member.checkpoint.position)
            if member.stopped is not None:
                found = shadow.find_failures(member.name)
                if failures is None:
                    self._fail(member.stopped, next(iter(found), None))
                failures += found
                raise member.stopped
            if self._log.head_position() == head:
                break
            head = self._log.head_position()
        return member.events

    def _refuse_stopped(self, position: int) -> None:
        if self._stop.is_set():
            name = self._projection.name
            raise ProjectionError(
                f"The rebuild of {name!r} was stopped at {position:,}",
                code="REBUILD_STOPPED",
                hint=f"It goes on there: eskit project rebuild {name}",
            )

    def _swap(self, skips: Sequence[Skip], erasures: int) -> tuple[int, int]:
        """Exchange the rows and handle what has arrived since; how much, up to which position."""
        name = self._projection.name
        lookup = EventLookup(self._log, self._subscription.event_types)
        context = EventContext(self._live.db, lookup.load)
        dispatch = build_dispatch([(self._subscription, context)], self._upcasters)
        try:
            with self._live.swapping(self._projection) as state:
                check_checkpoint(state, self._log)
                self._refuse_other_skips(skips)
                self._refuse_other_erasures(erasures)
                context.skip_filter = load_skip_filter(self._live, name)
                head = self._log.head_position()
                end = last_position(self._log, after=state.checkpoint, until=head)
                late = self._read_late(state.checkpoint.position, head)
                handle_filtered(dispatch, late, lookup, seconds=float("inf"))
                if end != state.checkpoint:
                    self._live.advance(name, seen=state.checkpoint, passed=end)
        except HandlerRaised as raised:
            refuse_outage(self._live, raised)
            self._fail(
                stopped_before(name, "rebuild", raised.event, raised.error),
                describe(name, "rebuild", raised.event, raised.error, at=self._live.clock.now),
            )
        return len(late), end.position

    def _refuse_other_skips(self, skips: Sequence[Skip]) -> None:
        """What was built must follow the decisions as they are now."""
        if self._live.find_skips(self._projection.name) != skips:
            raise ProjectionBusy(
                f"Dead letters of {self._projection.name!r} changed during the rebuild",
                hint=f"Start it again: eskit project rebuild {self._projection.name}",
            )

    def _refuse_other_erasures(self, erasures: int) -> None:
        """What was built must have nothing of what was erased meanwhile."""
        if count_erasures(self._log) != erasures:
            raise ProjectionBusy(
                f"Streams were erased during the rebuild of {self._projection.name!r}",
                hint=f"Start it again: eskit project rebuild {self._projection.name}",
            )

    def _read_late(self, after: int, head: int) -> list[LogRow]:
        types = self._subscription.event_types
        if not types:
            return []
        return list(self._log.read_log_rows(after=after, before=head + 1, event_types=types))

    def _count(self, after: int, head: int) -> int:
        types = self._subscription.event_types
        if not types:
            return 0
        return self._log.count_events(after=after, before=head + 1, event_types=types)

    def _fail(self, error: EskitError, failure: Failure | None) -> NoReturn:
        """Remember the failure with the live model, and clear away what was built."""
        if failure is not None:
            with self._live.transaction():
                self._live.save_failure(failure)
            self._live.discard_shadow(self._projection.name, "rebuild")
        raise error


def code_fingerprint(projection: Projection, skips: Sequence[Skip] = ()) -> str:
    """Tells whether an unfinished rebuild may go on: same handlers, migrations and eskit.

    Taken from the source files of the handlers and of all that is imported of their packages, so
    that what they call counts, and how old events are read. Without a source file nobody can tell,
    and a rebuild always begins anew.
    """
    digest = hashlib.sha256(
        f"{projection.name} {projection.version} {sorted(projection.handlers)} "
        f"{eskit.__version__} {platform.python_version()} "
        f"{[skip.event_id for skip in skips]}".encode()
    )
    files = {_source_of(handler) for handler in projection.handlers.values()}
    files.update(_imported_files(handler_packages(projection.handlers.values())))
    if projection.migrations is not None:
        files.update(projection.migrations.glob("*.sql"))
    for file in sorted(file for file in files if file is not None):
        digest.update(f"\n{file.name}\n".encode() + file.read_bytes())
    return new_id() if None in files else digest.hexdigest()


def _imported_files(packages: Collection[str]) -> Iterator[Path]:
    """The source files of the modules that are loaded of some top-level packages."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.partition(".")[0] in packages and file and Path(file).is_file():
            yield Path(file)


def _source_of(handler: Handler) -> Path | None:
    function = inspect.unwrap(handler)
    if not inspect.isfunction(function):
        return None  # a partial, or an object that can be called: its code may lie anywhere
    source = inspect.getsourcefile(function)
    return Path(source) if source and Path(source).is_file() else None
