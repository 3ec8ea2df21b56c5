"""``eskit project``: run, watch, compare, pause and rebuild projections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eskit.cli.commands.project_run import (
    follow_projections,
    rebuild_one,
    reporting,
    run_projections,
)
from eskit.cli.commands.project_text import (
    format_difference,
    format_estimates,
    format_problems,
    format_reports,
    format_statuses,
    format_watched,
)
from eskit.cli.engines import From, Source, open_engine
from eskit.cli.groups import examples, make_app
from eskit.cli.interrupts import stop_on_signal
from eskit.cli.options import By, DryRun, Reason, Yes, operator
from eskit.cli.service_runner import Health
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.errors import FAILED, FOUND, format_error
from eskit.errors import InvalidArgument
from eskit.reports.projections import (
    difference_object,
    estimate_object,
    failed_error,
    find_abandoned,
    run_object,
    status_object,
    stopped_error,
)
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.processes.holding import Holder
    from eskit.projections.port import ReadModels
    from eskit.projections.progress import RunReport
    from eskit.projections.status import ProjectionStatus

app = make_app("Run, watch, compare and rebuild projections.")

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Projections; without names all.", show_default=False),
]
"""The projections that a command is about."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="A projection.")]


@app.command("list", **examples("eskit project list", "eskit project list --json"))
def list_projections(context: typer.Context, source: From = Source.AUTO) -> None:
    """List the app's projections, their state and how far each is."""
    session = session_of(context)
    statuses = load_statuses(session, None, source)
    data = [status_object(s) for s in statuses]
    session.output.result(
        data, format_statuses(statuses), cut=True, diagnostics=find_abandoned(statuses)
    )


@app.command(
    "status",
    **examples(
        "eskit project status",
        "eskit project status account-balance",
        "eskit project status --watch",
    ),
)
def status(
    context: typer.Context,
    names: Names = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh the display until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="How often, with --watch.")
    ] = 1.0,
    source: From = Source.AUTO,
) -> None:
    """Show state, position and lag of projections; exit 1 when one has failed or hangs.

    Lag counts the unhandled events of the types that a projection handles. Rate is events per
    second of its holder, the process that runs it. A warning says when events wait and no process
    runs a projection. With names, status also shows the traceback of a failure, or where a handler
    hangs.
    """
    session = session_of(context)
    if watch:
        _watch(session, names, every, source)
        return
    statuses = load_statuses(session, names, source)
    data = [status_object(s, detailed=bool(names)) for s in statuses]
    failed = [s for s in statuses if s.state == "failed" or s.error]
    below = [s.name for s in failed if names or not s.failures]
    table = format_statuses(statuses, below=below)
    problems = format_problems(statuses, detailed=bool(names))
    if not failed:
        session.output.result(data, table, cut=True, diagnostics=find_abandoned(statuses))
        if not session.output.as_json:
            session.output.show(problems)
        return
    session.output.failure(data, [*table, *problems], error=failed_error(failed))
    raise typer.Exit(FAILED)


def _watch(session: Session, names: Sequence[str] | None, every: float, source: Source) -> None:
    session.output.streaming = True
    checked = check_names(session, names)
    with (
        open_engine(session, source) as engine,
        stop_on_signal(end_line=False) as stop,  # what is drawn ends its line itself
        session.output.watching() as show,
    ):
        while not stop.is_set():
            statuses = engine.status(checked)
            show([status_object(s) for s in statuses], format_watched(statuses))
            stop.wait(every)


@app.command(
    "run",
    **examples(
        "eskit project run --once",
        "eskit project run account-balance --health 8080",
        "eskit project run --dry-run",
    ),
)
def run(
    context: typer.Context,
    names: Names = None,
    once: Annotated[bool, typer.Option("--once", help="End where the log ends now.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Handle new events for up to 10 s, show the result, roll back."
        ),
    ] = False,
    source: From = Source.AUTO,
    health: Health = None,
) -> None:
    """Handle new events until Ctrl-C; then finish the current batch and exit with 0.

    A projection whose handler raises stops before that event; the others continue. eskit first
    rebuilds a projection whose version or migrations need it.
    """
    session = session_of(context)
    checked = check_names(session, names)
    if not session.load_app().projections:
        session.output.result([], format_statuses([]))
        return
    holders: Mapping[str, Holder] = {}
    with open_engine(session, source, create=True) as engine:
        if dry_run:
            reports = engine.dry_run(checked)
        elif once:
            with stop_on_signal() as stop:
                reports = run_projections(session, engine, checked, stop)
        else:
            reports, holders = follow_projections(session, engine, checked, health)
    shown = not once and not dry_run
    _show_reports(session, reports, undone=dry_run, shown=shown, holders=holders)


def _show_reports(
    session: Session,
    reports: Sequence[RunReport],
    *,
    undone: bool = False,
    shown: bool = False,
    holders: Mapping[str, Holder] = MappingProxyType({}),
) -> None:
    """What was done; exit 1, each reason named unless it was shown, when a projection stopped."""
    data = [run_object(report) for report in reports]
    lines = format_reports(reports, undone=undone, holders=holders)
    stopped = stopped_error(reports)
    if stopped is None:
        session.output.result(data, lines)
        return
    session.output.failure(data, lines, error=stopped)
    if not session.output.as_json and not shown:
        for report in reports:
            if report.error is not None:
                session.output.note(*format_error(report.error))
    raise typer.Exit(FAILED)


@app.command(
    "rebuild",
    **examples(
        "eskit project rebuild account-balance", "eskit project rebuild account-balance --dry-run"
    ),
)
def rebuild(
    context: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Projections to rebuild.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count the events and estimate the time.")
    ] = False,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", help="Use no second file: one transaction that blocks other writers."
        ),
    ] = False,
    source: From = Source.AUTO,
) -> None:
    """Build projections again from the whole log, beside the live ones, and swap at the end.

    Readers see the old rows until the new ones are complete. If a handler raises, its live rows
    stay, and eskit rebuilds the next projection. An interrupted rebuild resumes.
    """
    session = session_of(context)
    checked = check_names(session, names) or []
    if dry_run:
        with open_engine(session, source) as engine:
            estimates = [engine.estimate_rebuild(name) for name in checked]
        session.output.result(
            [estimate_object(e) for e in estimates], list(format_estimates(estimates))
        )
        return
    with open_engine(session, source, create=True) as engine, session.output.progress() as report:
        progress = reporting(report)
        reports = [
            rebuild_one(engine, name, in_place=in_place, progress=progress) for name in checked
        ]
    _show_reports(session, reports)


@app.command(
    "diff",
    **examples(
        "eskit project diff account-balance", "eskit project diff account-balance --examples 3"
    ),
)
def diff(
    context: typer.Context,
    name: Name,
    shown: Annotated[
        int, typer.Option("--examples", metavar="N", min=0, help="Rows to show of each table.")
    ] = 20,
    source: From = Source.AUTO,
) -> None:
    """Compare the live rows with those that the events produce; exit 3 if they differ.

    Builds a second set of rows and compares it row by row; changes nothing.
    """
    session = session_of(context)
    (checked,) = check_names(session, [name]) or [name]
    with open_engine(session, source) as engine, session.output.progress() as report:
        found = engine.diff(checked, examples=shown, progress=reporting(report))
    session.output.result(difference_object(found), format_difference(found), found=not found.equal)
    if not found.equal:
        raise typer.Exit(FOUND)


@app.command("pause", **examples("eskit project pause account-balance --reason 'wrong rates'"))
def pause(
    context: typer.Context, name: Name, reason: Reason, by: By = "", source: From = Source.AUTO
) -> None:
    """Keep a projection where it is until it is resumed, also over restarts.

    The process that runs it stops it after the current batch.
    """
    session = session_of(context)
    (checked,) = check_names(session, [name]) or [name]
    with open_engine(session, source) as engine:
        engine.pause(checked, reason=reason, by=operator(by))
        (now,) = engine.status([checked])
    session.output.result(status_object(now), [[(name, "name"), f"  paused at {now.position:,}"]])


@app.command("resume", **examples("eskit project resume account-balance --reason 'rates fixed'"))
def resume(
    context: typer.Context, name: Name, reason: Reason, by: By = "", source: From = Source.AUTO
) -> None:
    """Resume a paused projection; a process that runs projections notices automatically."""
    session = session_of(context)
    (checked,) = check_names(session, [name]) or [name]
    with open_engine(session, source) as engine:
        engine.resume(checked, reason=reason, by=operator(by))
        (now,) = engine.status([checked])
    resumed = f"  resumed at {now.position:,}, {count(now.lag, 'event')} behind"
    session.output.result(status_object(now), [[(name, "name"), resumed]])


@app.command(
    "rename",
    **examples("eskit project rename activity-log activities --reason 'a better name'"),
)
def rename(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The name its rows are kept under.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name it has in the app now.")],
    reason: Reason,
    by: By = "",
) -> None:
    """Move rows and checkpoint of a renamed projection to its new name.

    eskit handles no event again, and readers notice nothing.
    """
    from eskit.projections import orphans

    session = session_of(context)
    _refuse_present(session, old)
    check_names(session, [new])
    with _read_models(session) as models:
        state = orphans.rename(models, old, new, reason=reason, by=operator(by))
    resumes = f"  resumes at {state.checkpoint.position:,} as "
    session.output.result(
        {"old": old, "new": new, "position": state.checkpoint.position},
        [[(old, "name"), resumes, (new, "name")]],
    )


@app.command(
    "drop",
    **examples(
        "eskit project drop activity-log --reason 'no longer used' --dry-run",
        "eskit project drop activity-log --reason 'no longer used' --yes",
    ),
)
def drop(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A projection that the app no longer has.")
    ],
    reason: Reason,
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Delete the tables and the checkpoint of a projection that the app no longer has.

    The log keeps every event, so a projection can build the rows again. Decisions about the
    projection stay on record.
    """
    from eskit.projections import orphans

    session = session_of(context)
    _refuse_present(session, name)
    with _read_models(session) as models:
        state = orphans.load(models, name)
        if not (dry_run or yes):
            session.output.confirm(f"Delete the tables and the checkpoint of {name}?")
        if not dry_run:
            orphans.drop(models, name, reason=reason, by=operator(by))
    position = state.checkpoint.position
    done = "would be dropped" if dry_run else "dropped"
    session.output.result(
        {"name": name, "position": position, "dropped": not dry_run},
        [[(name, "name"), f"  {done}; it stood at {position:,}"]],
    )


@contextmanager
def _read_models(session: Session) -> Iterator[ReadModels[Any]]:
    from eskit.projections.opening import open_read_models

    models = open_read_models(session.project.read_models)
    try:
        yield models
    finally:
        models.close()


def _refuse_present(session: Session, name: str) -> None:
    if any(projection.name == name for projection in session.load_app().projections):
        raise InvalidArgument(
            f"Projection {name!r} is still in the app",
            hint=f"Rebuild its rows instead: eskit project rebuild {name}",
        )


def load_statuses(
    session: Session, names: Sequence[str] | None, source: Source
) -> list[ProjectionStatus]:
    """The status of projections, in the app's order."""
    checked = check_names(session, names)
    with open_engine(session, source) as engine:
        return list(engine.status(checked))


def check_names(session: Session, names: Sequence[str] | None) -> list[str] | None:
    """The names, each of a projection there is; None for all of them."""
    if not names:
        return None
    loaded = session.load_app()
    return [loaded.projection(name).name for name in names]
