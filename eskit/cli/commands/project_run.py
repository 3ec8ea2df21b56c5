"""Run projections from a terminal, and report when they resume, wait or stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from eskit.cli.commands.project_text import format_waiting
from eskit.cli.service_runner import run_services
from eskit.cli.session import Session
from eskit.cli.terminal.errors import format_error
from eskit.cli.terminal.progress import NoProgress, ProgressReporter
from eskit.errors import (
    EskitError,
    ProjectionBusy,
    ProjectionError,
    ProjectionFailed,
)

if TYPE_CHECKING:
    from eskit.cli.terminal.output import Output
    from eskit.processes.holding import Holder
    from eskit.projections.engine import ProjectionEngine
    from eskit.projections.progress import ProjectionProgress, ReportProjectionProgress, RunReport
    from eskit.runtime.projecting import ProjectionWatch


_LOOK_EVERY = 0.5


def shown_watch(
    engine: ProjectionEngine, output: Output, *, tell: Callable[[str], None], hint: str = ""
) -> ProjectionWatch:
    """A watch over the projections that run here, which says what goes wrong.

    `hint` says what to do about one that a handler has stopped, where the error's own does not fit.
    """
    from eskit.runtime.projecting import ProjectionWatch

    def show_stop(name: str, error: EskitError) -> None:
        if hint and isinstance(error, ProjectionFailed):
            error = ProjectionFailed(error.message, hint=hint.format(name=name))
        output.note(*format_error(error))

    return ProjectionWatch(
        engine,
        tell=tell,
        on_stop=show_stop,
        on_waiting=lambda error: output.note(*format_waiting(error)),
    )


def follow_projections(
    session: Session, engine: ProjectionEngine, names: Sequence[str] | None, health: str | None
) -> tuple[list[RunReport], Mapping[str, Holder]]:
    """Run projections until a signal comes, or until none of them is left.

    Also which of them other processes have run instead, and where those have brought them.
    """
    import asyncio  # 30 ms, which the other commands here do not need

    from eskit.runtime.service import Worker

    reports: list[RunReport] = []
    watch = shown_watch(engine, session.output, tell=session.output.note)

    async def host() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def work(stop: threading.Event) -> None:
            reports.extend(run_projections(session, engine, names, stop, watch=watch))
            loop.call_soon_threadsafe(ended.set)
            stop.wait()

        projections = Worker("projections", work, check=watch.check, describe=watch.describe)
        await run_services([projections], health=health, tell=session.output.note, stop=ended)

    asyncio.run(host())
    holders = dict(watch.holders)
    now = {status.name: status.position for status in engine.status(list(holders) or names)}
    return [
        replace(report, position=now[report.name]) if report.name in holders else report
        for report in reports
    ], holders


def run_projections(
    session: Session,
    engine: ProjectionEngine,
    names: Sequence[str] | None,
    stop: threading.Event,
    *,
    watch: ProjectionWatch | None = None,
) -> list[RunReport]:
    """Run them up to the head, or with `watch` on and on: it hears of what happens to them."""
    once = watch is None
    with session.output.progress() as report:
        if not once:
            session.output.note("Projections run until Ctrl-C")
        forward = reporting(report, _count_waiting(engine, names, report) if once else None)
        for name in names or [projection.name for projection in session.load_app().projections]:
            try:
                _rebuild_first(session, engine, name, forward, stop, wait=not once)
            except ProjectionError as stopped:
                if stopped.code != "REBUILD_STOPPED":
                    raise
                session.output.note(stopped.message)
                return []

        def tell(progress: ProjectionProgress) -> None:
            forward(progress)
            if watch is not None:
                watch.progress(progress)

        waiting = watch.waiting if watch is not None else None
        return list(engine.run_each(names, once=once, stop=stop, progress=tell, waiting=waiting))


def _rebuild_first(
    session: Session,
    engine: ProjectionEngine,
    name: str,
    progress: ReportProjectionProgress,
    stop: threading.Event,
    *,
    wait: bool,
) -> None:
    """Rebuild a projection that needs it; the run reports one that fails.

    With `wait` who rebuilds it already is waited for.
    """
    shown = ""
    while engine.needs_rebuild(name) and not stop.is_set():
        try:
            if not shown:
                session.output.note(f"{name} needs its history: rebuilding it first")
            engine.rebuild(name, progress=progress, stop=stop)
        except ProjectionBusy as busy:
            if not wait:
                raise
            if busy.message != shown:
                session.output.note(f"{busy.message}: waiting for it")
            shown = busy.message
            stop.wait(_LOOK_EVERY)
        except ProjectionFailed as failed:
            session.output.note(*format_error(failed))
            return


def rebuild_one(
    engine: ProjectionEngine, name: str, *, in_place: bool, progress: ReportProjectionProgress
) -> RunReport:
    """Rebuild one of several projections; what it failed with is reported, not raised."""
    from eskit.projections.progress import RunReport

    try:
        return engine.rebuild(name, in_place=in_place, progress=progress)
    except ProjectionError as error:
        (status,) = engine.status([name])
        return RunReport(name=name, events=0, position=status.position, seconds=0.0, error=error)


def _count_waiting(
    engine: ProjectionEngine, names: Sequence[str] | None, report: ProgressReporter
) -> Mapping[str, int]:
    """How many events wait for each projection, if anybody is shown that."""
    if isinstance(report, NoProgress):
        return {}
    return {status.name: status.lag for status in engine.status(names)}


def reporting(
    report: ProgressReporter, totals: Mapping[str, int] | None = None
) -> ReportProjectionProgress:
    """Hand the engine's progress to what draws it, once there is any; of `totals` if known."""

    def forward(progress: ProjectionProgress) -> None:
        if progress.events:
            total = progress.total or (totals or {}).get(progress.name, 0)
            report(progress.name, progress.events, total)

    return forward
