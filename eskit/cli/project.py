"""``eskit project``: run, watch and rebuild projections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.errors import format_error
from eskit.cli.output import ProgressReporter
from eskit.cli.session import Session, session_of
from eskit.cli.stopping import stop_on_signal
from eskit.cli.text import Line, columns, count, duration
from eskit.errors import ProjectionFailed

if TYPE_CHECKING:
    from eskit.projections.progress import Progress, ReportProgress, RunReport
    from eskit.projections.readmodel import Failure
    from eskit.projections.status import ProjectionStatus

app = make_app("Run, watch and rebuild projections.")

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Projections; without names all.", show_default=False),
]
"""The projections that a command is about."""


@app.command("list", **examples("eskit project list", "eskit project list --json"))
def list_projections(context: typer.Context) -> None:
    """List the app's projections, their state and how far each is."""
    session = session_of(context)
    statuses = load_statuses(session, None)
    data = [status_object(s) for s in statuses]
    session.output.result(data, format_statuses(statuses), cut=True)


@app.command("status", **examples("eskit project status", "eskit project status account-balance"))
def status(context: typer.Context, names: Names = None) -> None:
    """Show state, position and lag of projections; exit 1 when one has failed.

    Lag counts the events that the projection handles and has not handled yet.
    """
    session = session_of(context)
    statuses = load_statuses(session, names)
    data = [status_object(s) for s in statuses]
    failed = [s for s in statuses if s.state == "failed"]
    if not failed:
        session.output.result(data, format_statuses(statuses), cut=True)
        return
    session.output.failure(
        data,
        [*format_statuses(statuses), *format_failures(failed, detailed=bool(names))],
        error={
            "code": ProjectionFailed.code,
            "message": f"{count(len(failed), 'projection')} failed: "
            + ", ".join(s.name for s in failed),
            "hint": f"eskit project run {failed[0].name}",
        },
    )
    raise typer.Exit(1)


@app.command("run", **examples("eskit project run --once", "eskit project run account-balance"))
def run(
    context: typer.Context,
    names: Names = None,
    once: Annotated[bool, typer.Option("--once", help="End where the log ends now.")] = False,
) -> None:
    """Handle new events until Ctrl-C, which finishes the batch in hand and exits with 0."""
    session = session_of(context)
    with (
        session.open_app() as running,
        stop_on_signal() as stop,
        session.output.progress() as report,
    ):
        if not once:
            session.output.note("Projections run until Ctrl-C")
        forward = reporting(report)

        def watch(progress: Progress) -> None:
            forward(progress)
            if progress.error is not None and not once:
                session.output.note(*format_error(progress.error))

        reports = running.engine.run(
            check_names(session, names), once=once, stop=stop, progress=watch
        )
    session.output.result([asdict(r) for r in reports], format_reports(reports))


@app.command("rebuild", **examples("eskit project rebuild account-balance"))
def rebuild(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Projections to rebuild.")],
) -> None:
    """Build projections again from the whole log, beside the live ones, and swap at the end.

    Readers see the old rows until the new ones are complete. An interrupted rebuild leaves the
    live model as it was.
    """
    session = session_of(context)
    checked = check_names(session, names) or []
    with session.open_app() as running, session.output.progress() as report:
        reports = [running.engine.rebuild(name, progress=reporting(report)) for name in checked]
    session.output.result([asdict(r) for r in reports], format_reports(reports))


def load_statuses(session: Session, names: Sequence[str] | None) -> list[ProjectionStatus]:
    """The status of projections, in the app's order."""
    checked = check_names(session, names)
    with session.open_app(create=False) as running:
        return list(running.engine.status(checked))


def check_names(session: Session, names: Sequence[str] | None) -> list[str] | None:
    """The names, each of a projection there is; None for all of them."""
    if not names:
        return None
    loaded = session.load_app()
    return [loaded.projection(name).name for name in names]


def reporting(report: ProgressReporter) -> ReportProgress:
    """Hand the engine's progress to what draws it."""

    def forward(progress: Progress) -> None:
        report(progress.name, progress.events, progress.total or 0)

    return forward


def status_object(status: ProjectionStatus) -> dict[str, object]:
    """A projection's status as --json shows it."""
    return {
        "name": status.name,
        "state": status.state,
        "position": status.position,
        "head": status.head,
        "lag": status.lag,
        "error": status.error or None,
    }


_STATE_STYLES = {"failed": "error", "rebuilding": "warning", "paused": "warning", "running": "ok"}
_HEADING = ("", "state", "position", "head", "lag", "behind", "last error")


def format_statuses(statuses: Sequence[ProjectionStatus]) -> Iterator[Line]:
    """A projection a line, below a heading."""
    if not statuses:
        yield "No projections in this app"
        return
    rows = [
        (
            (status.name, "name"),
            (status.state, _STATE_STYLES.get(status.state, "")),
            f"{status.position:,}",
            f"{status.head:,}",
            f"{status.lag:,}",
            duration(status.behind_seconds),
            (_remark(status), "error" if status.error else ""),
        )
        for status in statuses
    ]
    yield from columns([[(name, "dim") for name in _HEADING], *rows], right=[2, 3, 4, 5])


def _remark(status: ProjectionStatus) -> str:
    """The error in short, or how far a rebuild has come."""
    if status.failures:
        return status.failures[0].error.partition("\n")[0]
    if status.error:
        return status.error.partition("\n")[0]
    if status.rebuild_position is None:
        return ""
    return f"rebuilt up to {status.rebuild_position:,}"


def format_failures(failed: Sequence[ProjectionStatus], *, detailed: bool) -> Iterator[Line]:
    """For each projection that failed what happened, and the commands to run next."""
    for status in failed:
        yield ""
        if not status.failures:
            yield [(status.name, "name"), f"  {status.error}"]
            yield ["  rebuild    ", (f"eskit project rebuild {status.name}", "command")]
            continue
        for failure in status.failures:
            yield from format_failure(failure, detailed=detailed)
        if not detailed:
            yield ["  see why    ", (f"eskit project status {status.name}", "command")]
        again = "rebuild" if status.failures[0].phase == "rebuild" else "run --once"
        yield ["  try again  ", (f"eskit project {again} {status.name}", "command")]


def format_failure(failure: Failure, *, detailed: bool) -> Iterator[Line]:
    """The event that stopped a projection; with `detailed` the error and its traceback."""
    what = "rebuild stopped" if failure.phase == "rebuild" else "stopped"
    yield [
        (failure.projection, "name"),
        f" {what} before {failure.position:,} {failure.event_type} of {failure.stream}",
    ]
    if detailed:
        yield from (f"  {line}" for line in failure.traceback.splitlines())
        yield ["  ", (failure.error, "error")]


def format_reports(reports: Sequence[RunReport]) -> Iterator[Line]:
    """What was done to each projection."""
    yield from columns(
        [
            (
                (report.name, "name"),
                count(report.events, "event"),
                f"position {report.position:,}",
                duration(report.seconds),
                _rate(report),
            )
            for report in reports
        ],
        right=[1, 3, 4],
    )


def _rate(report: RunReport) -> str:
    return f"{report.events / report.seconds:,.0f}/s" if report.events and report.seconds else ""
