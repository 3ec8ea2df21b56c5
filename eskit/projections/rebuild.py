"""Build rows beside the live ones, then swap the two at once.

A killed rebuild resumes; one that fails leaves the live rows untouched.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
import sys
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.ids import new_id
from eskit.domain.upcasting import Upcasters
from eskit.errors import ProjectionBusy, ProjectionError, ProjectionFailed, ReadModelUnavailable
from eskit.projections import bookkeeping
from eskit.projections.failures import Work
from eskit.projections.following import BatchLimits, Following
from eskit.projections.handling import ProjectionRun, find_handlers, handler_packages
from eskit.projections.log import EventLog, count_erasures
from eskit.projections.port import LiveReadModel, Purpose, ReadModel, ShadowReadModel
from eskit.projections.progress import RebuildEstimate, ReportProjectionProgress, RunReport
from eskit.projections.projection import Handler, Projection
from eskit.projections.records import Failure, Record, Skip
from eskit.slow import SlowCall, SlowCalls

# How often to look whether events have arrived meanwhile before the rest is left to the swap.
_ROUNDS = 5


class Rebuild:
    """One rebuild of one projection; the caller holds its lock."""

    def __init__(
        self,
        log: EventLog,
        live: LiveReadModel[Any],
        projection: Projection[Any],
        *,
        upcasters: Upcasters,
        clock: Clock = SYSTEM_CLOCK,
        limits: BatchLimits | None = None,
        progress: ReportProjectionProgress | None = None,
        stop: threading.Event | None = None,
        slow: SlowCalls | None = None,
    ) -> None:
        self._log = log
        self._live = live
        self._projection = projection
        self._name = projection.name
        self._upcasters = upcasters
        self._clock = clock
        self._limits = limits or BatchLimits(events=10_000, seconds=1.0)
        self._progress = progress
        self._stop = stop or threading.Event()
        self._slow = slow
        self._run = ProjectionRun(projection, find_handlers(projection, upcasters), clock=clock)
        self._following: Following | None = None

    def run(self) -> RunReport:
        """Build shadow rows up to the head, swap them in, and clear away what is left.

        Raises ProjectionFailed or, told to stop, REBUILD_STOPPED with the live rows as they were.
        """
        started = self._clock.monotonic()
        skips = bookkeeping.find_skips(self._live, self._name)
        erasures = count_erasures(self._log)
        failures: list[Failure] = []
        try:
            shadow = self._open_shadow(skips, erasures)
            try:
                self._build(shadow, failures, self._progress)
                built = bookkeeping.load_state(shadow, self._name)
                migrations = bookkeeping.find_migrations(shadow, self._name)
            finally:
                shadow.close()
            with self._live.swapping(self._name):
                bookkeeping.adopt(self._live, built, migrations)
                self._refuse_other_skips(skips)
                self._refuse_other_erasures(erasures)
                self._build(self._live, failures, None)  # what has arrived since
        except ProjectionFailed:
            self._keep(failures)
            if failures:
                self._live.discard_shadow(self._name, "rebuild")
            raise
        self._live.discard_shadow(self._name, "rebuild")
        return self._report(started, skipped=len(skips))

    def run_in_place(self) -> RunReport:
        """Empty the rows and make them again, in one long transaction on the live database.

        Readers see the old rows until it is done; nobody else can write to the file meanwhile, and
        an interrupted one starts over.
        """
        started = self._clock.monotonic()
        erasures = count_erasures(self._log)
        failures: list[Failure] = []
        try:
            with self._live.transaction():
                bookkeeping.begin_again(self._live, self._name)
                self._build(self._live, failures, self._progress)
                self._refuse_other_erasures(erasures)
        except ProjectionFailed:
            self._keep(failures)
            raise
        skipped = len(bookkeeping.find_skips(self._live, self._name))
        return self._report(started, skipped=skipped)

    def estimate(self, *, seconds: float) -> RebuildEstimate:
        """Handle events into shadow rows for so long, to know the rate; nothing of it is kept.

        Raises ProjectionFailed if a handler does so soon.
        """
        limits = BatchLimits(events=1_000, seconds=seconds)
        skips = bookkeeping.find_skips(self._live, self._name)
        shadow = open_shadow(self._live, self._name, "estimate", skips=skips)
        try:
            head = self._log.head_position()
            following = self._follow(shadow, limits, work="estimate", progress=self._progress)
            while following.step(head) and following.seconds < seconds:
                pass
            if self._run.error is not None:
                raise self._run.error
        finally:
            shadow.close()
            self._live.discard_shadow(self._name, "estimate")
        return RebuildEstimate(
            name=self._name,
            events=self._count(0, head),
            rate=self._run.events / following.seconds,
            measured=self._run.events,
        )

    def _open_shadow(self, skips: Sequence[Skip], erasures: int) -> ShadowReadModel[Any]:
        """The shadow rows that the same code has begun on the same store, or empty ones."""
        begun = json.dumps(
            [code_fingerprint(self._projection, skips), self._log.store_id, erasures]
        )
        return open_shadow(self._live, self._name, "rebuild", skips=skips, begun=begun)

    def _build(
        self,
        model: ReadModel[Any],
        failures: list[Failure],
        progress: ReportProjectionProgress | None,
    ) -> None:
        """Follow the log into a model until nothing is new; adds the failure that stops it."""
        following = self._follow(model, self._limits, progress=progress)
        head = self._log.head_position()
        following.total = self._count(self._run.checkpoint.position, head)
        for _ in range(_ROUNDS):
            while following.step(head):
                self._refuse_stopped()
            if self._run.error is not None:
                failures += bookkeeping.find_failures(model, self._name)
                raise self._run.error
            now = self._log.head_position()
            if now == head:
                break
            head = now

    def _follow(
        self,
        model: ReadModel[Any],
        limits: BatchLimits,
        *,
        work: Work = "rebuild",
        progress: ReportProjectionProgress | None = None,
    ) -> Following:
        following = Following(
            self._log,
            model,
            [self._run],
            upcasters=self._upcasters,
            clock=self._clock,
            work=work,
            limits=limits,
            progress=progress,
            slow=self._slow,
        )
        self._following = following
        following.start()
        return following

    @property
    def slow_call(self) -> SlowCall | None:
        """What it has been in for too long, if it is; also for other threads to ask."""
        return self._following.slow_call if self._following is not None else None

    def _refuse_stopped(self) -> None:
        if self._stop.is_set():
            raise ProjectionError(
                f"The rebuild of {self._name!r} was stopped at {self._run.checkpoint.position:,}",
                code="REBUILD_STOPPED",
                hint=f"Resume it: eskit project rebuild {self._name}",
            )

    def _refuse_other_skips(self, skips: Sequence[Skip]) -> None:
        """What was built must follow the decisions as they are now."""
        if bookkeeping.find_skips(self._live, self._name) != skips:
            raise ProjectionBusy(
                f"Dead letters of {self._name!r} changed during the rebuild",
                hint=f"Start it again: eskit project rebuild {self._name}",
            )

    def _refuse_other_erasures(self, erasures: int) -> None:
        """What was built must have nothing of what was erased meanwhile."""
        if count_erasures(self._log) != erasures:
            raise ProjectionBusy(
                f"Streams were erased during the rebuild of {self._name!r}",
                hint=f"Start it again: eskit project rebuild {self._name}",
            )

    def _keep(self, failures: Sequence[Failure]) -> None:
        """Remember with the live rows what stopped the build."""
        with self._live.transaction():
            for failure in failures:
                bookkeeping.save_failure(self._live, failure)

    def _count(self, after: int, head: int) -> int:
        types = self._run.event_types
        if not types:
            return 0
        return self._log.count_events(after=after, before=head + 1, event_types=types)

    def _report(self, started: float, *, skipped: int) -> RunReport:
        return RunReport(
            name=self._name,
            events=self._run.events,
            position=self._run.checkpoint.position,
            seconds=self._clock.monotonic() - started,
            skipped=skipped,
        )


def open_shadow(
    live: LiveReadModel[Any],
    name: str,
    purpose: Purpose,
    *,
    skips: Sequence[Skip],
    begun: str = "",
) -> ShadowReadModel[Any]:
    """Shadow rows that pass over some events: unfinished ones that were `begun` so, or empty ones.

    Without `begun` they are always empty.
    """
    shadow = _find_unfinished(live, name, purpose) if begun else None
    if shadow is not None:
        found = [record.value for record in shadow.records("build", name)]
        if found == [begun]:
            return shadow
        if found or shadow.records("state", name):  # other code's, or an older eskit's
            shadow.close()
            shadow = None
    if shadow is None:
        live.discard_shadow(name, purpose)
        shadow = live.open_shadow(name, purpose)
    with shadow.transaction():
        shadow.save(Record("build", name, "", begun or "null"))
        for skip in skips:
            bookkeeping.save_skip(shadow, skip)
    return shadow


def _find_unfinished(
    live: LiveReadModel[Any], name: str, purpose: Purpose
) -> ShadowReadModel[Any] | None:
    """Shadow rows as they were left, or new ones; None where they are damaged."""
    try:
        return live.open_shadow(name, purpose)
    except ReadModelUnavailable:
        return None


def code_fingerprint(projection: Projection[Any], skips: Sequence[Skip] = ()) -> str:
    """Tells whether an unfinished rebuild may resume: same handlers, migrations and eskit.

    Taken from the source files of the handlers and of all that is imported of their packages, so
    that what they call counts, and how old events are read. Without a source file nobody can tell,
    and a rebuild always starts over.
    """
    # Not imported: the façade is above this module, and metadata takes 30 ms to load.
    version: str = sys.modules["eskit"].__version__
    digest = hashlib.sha256(
        f"{projection.name} {projection.version} {sorted(projection.handlers)} "
        f"{version} {platform.python_version()} "
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
