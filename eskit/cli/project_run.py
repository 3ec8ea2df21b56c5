"""Running projections from a terminal: what is told while they go on, wait or stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from eskit.cli.errors import format_error
from eskit.cli.hosting import run_services
from eskit.cli.progress import ProgressReporter
from eskit.cli.project_text import format_outage
from eskit.cli.session import Session
from eskit.errors import EskitError, RebuildStopped

if TYPE_CHECKING:
    from eskit.projections.engine import ProjectionEngine
    from eskit.projections.progress import Progress, ReportProgress, RunReport


def follow_projections(
    session: Session, engine: ProjectionEngine, names: Sequence[str] | None, health: str | None
) -> list[RunReport]:
    """Run projections until a signal comes, or until none of them is left."""
    import asyncio  # 30 ms, which the other commands here do not need

    from eskit.runtime.service import Worker

    reports: list[RunReport] = []
    stopped: list[EskitError] = []

    def check() -> None:
        if stopped:
            raise stopped[0]

    async def host() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def work(stop: threading.Event) -> None:
            reports.extend(run_projections(session, engine, names, stop, on_stopped=stopped.append))
            loop.call_soon_threadsafe(ended.set)
            stop.wait()

        projections = Worker("projections", work, check=check)
        await run_services([projections], health=health, tell=session.output.note, stop=ended)

    asyncio.run(host())
    return reports


def run_projections(
    session: Session,
    engine: ProjectionEngine,
    names: Sequence[str] | None,
    stop: threading.Event,
    *,
    on_stopped: Callable[[EskitError], None] | None = None,
) -> list[RunReport]:
    """Run them up to the head, or with `on_stopped` on and on: it hears of one that stops."""
    once = on_stopped is None
    with session.output.progress() as report:
        if not once:
            session.output.note("Projections run until Ctrl-C")
        forward = reporting(report)
        for name in names or [projection.name for projection in session.load_app().projections]:
            if engine.needs_rebuild(name):
                session.output.note(f"{name} needs its history: rebuilding it first")
                try:
                    engine.rebuild(name, progress=forward, stop=stop)
                except RebuildStopped as stopped:
                    session.output.note(stopped.message)
                    return []

        def watch(progress: Progress) -> None:
            forward(progress)
            if progress.error is not None and on_stopped is not None:
                on_stopped(progress.error)
                session.output.note(*format_error(progress.error))

        def wait(outage: EskitError | None) -> None:
            session.output.note(*format_outage(outage))

        return list(engine.run_each(names, once=once, stop=stop, progress=watch, outage=wait))


def reporting(report: ProgressReporter) -> ReportProgress:
    """Hand the engine's progress to what draws it."""

    def forward(progress: Progress) -> None:
        report(progress.name, progress.events, progress.total or 0)

    return forward
