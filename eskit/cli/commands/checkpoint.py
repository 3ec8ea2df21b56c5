"""``eskit checkpoint``: how far each follower of the log has come, and setting it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.engines import From, Source, open_engine, reads_store
from eskit.cli.groups import examples, make_app
from eskit.cli.options import By, DryRun, Reason, Yes, operator
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.errors import FOUND
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, ago
from eskit.errors import ProjectionError
from eskit.reports.checkpoints import (
    Log,
    change_object,
    checkpoint_object,
    list_checkpoints,
    repairs_object,
)
from eskit.text.quantities import count
from eskit.text.suggestions import find_nearest

if TYPE_CHECKING:
    from eskit.projections.control import CheckpointChange, CheckpointRepair
    from eskit.store.records import Checkpoint

app = make_app("How far each follower of the log has come.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A projection.")]


@app.command("list", **examples("eskit checkpoint list", "eskit checkpoint list --json"))
def list_all(context: typer.Context) -> None:
    """List the checkpoints of projections, of the relay and of reactions."""
    session = session_of(context)
    checkpoints, log = load_checkpoints(session)
    session.output.result(
        [checkpoint_object(c, log) for c in checkpoints],
        format_checkpoints(checkpoints, log, datetime.now(UTC)),
    )


@app.command("show", **examples("eskit checkpoint show account-balance"))
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A projection, or relay.")],
) -> None:
    """Show one checkpoint: the last event that was passed, and when."""
    session = session_of(context)
    checkpoints, log = load_checkpoints(session)
    found = next((c for c in checkpoints if c.name == name), None)
    if found is None:
        near = find_nearest(name, [c.name for c in checkpoints])
        raise ProjectionError(
            f"No checkpoint {name!r}",
            code="PROJECTION_NOT_FOUND",
            hint=f"Did you mean {near}?" if near else "See: eskit checkpoint list",
        )
    session.output.result(
        checkpoint_object(found, log), format_checkpoint(found, log, datetime.now(UTC))
    )


@app.command(
    "set",
    **examples(
        "eskit checkpoint set account-balance 4711 --reason 'old rows' --dry-run",
        "eskit checkpoint set account-balance 4711 --reason 'old rows' --yes",
    ),
)
def set_position(
    context: typer.Context,
    name: Name,
    position: Annotated[
        int, typer.Argument(metavar="POSITION", min=0, help="The last event to count as handled.")
    ],
    reason: Reason,
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    source: From = Source.AUTO,
) -> None:
    """Set the position after which a projection resumes; its rows stay as they are.

    The projection handles the events in between again, or never: look with --dry-run first. To
    rebuild the rows, use eskit project rebuild.
    """
    _move(
        session_of(context),
        name,
        position,
        reason=reason,
        by=by,
        dry_run=dry_run,
        yes=yes,
        source=source,
    )


@app.command(
    "reset",
    **examples(
        "eskit checkpoint reset account-balance --reason 'emptied by hand' --dry-run",
        "eskit checkpoint reset account-balance --reason 'emptied by hand' --yes",
    ),
)
def reset(
    context: typer.Context,
    name: Name,
    reason: Reason,
    by: By = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    source: From = Source.AUTO,
) -> None:
    """Reset a projection to the first event; its rows stay as they are.

    Use it only if you have emptied the rows by hand: eskit project rebuild builds them without an
    empty moment.
    """
    _move(
        session_of(context),
        name,
        0,
        reason=reason,
        by=by,
        dry_run=dry_run,
        yes=yes,
        source=source,
    )


@app.command(
    "repair",
    **examples("eskit checkpoint repair --dry-run", "eskit checkpoint repair"),
)
def repair(context: typer.Context, by: By = "", dry_run: DryRun = False) -> None:
    """Keep the rows of projections whose last event is in the restored store.

    The restored log holds every event that made their rows. Other projections have seen events
    that the log lost: exit 3, with the command that rebuilds them.
    """
    session = session_of(context)
    with open_engine(session, Source.STORE) as engine:
        repairs = engine.repair_checkpoints(by=operator(by), dry_run=dry_run)
    lost = [repair for repair in repairs if repair.problem]
    lines = list(format_repairs(repairs, dry_run=dry_run))
    session.output.result(repairs_object(repairs, dry_run=dry_run), lines, found=bool(lost))
    if lost:
        raise typer.Exit(FOUND)


def format_repairs(repairs: Sequence[CheckpointRepair], *, dry_run: bool) -> Iterator[Line]:
    """A projection a line, then the command that mends the others."""
    yield from columns(
        [
            (
                (repair.name, "name"),
                f"{repair.position:,}",
                (f"not this log: {repair.problem}", "error")
                if repair.problem
                else ("would resume" if dry_run else "resumes"),
            )
            for repair in repairs
        ],
        right=[1],
    )
    if not repairs:
        yield "Every projection follows this store"
    if lost := " ".join(repair.name for repair in repairs if repair.problem):
        yield f"Rebuild them: eskit project rebuild {lost}"


def _move(
    session: Session,
    name: str,
    position: int,
    *,
    reason: str,
    by: str,
    dry_run: bool,
    yes: bool,
    source: Source,
) -> None:
    checked = session.load_app().projection(name).name
    with open_engine(session, source) as engine:
        who = operator(by)
        change = engine.set_checkpoint(checked, position, reason=reason, by=who, dry_run=True)
        if not dry_run:
            if not yes:
                session.output.confirm(f"{_described(change)}. Do it?")
            change = engine.set_checkpoint(checked, position, reason=reason, by=who)
    lines: list[Line] = [_described(change)]
    if dry_run:
        lines.append("A dry run: nothing was changed")
    session.output.result(change_object(change, done=not dry_run), lines)


def _described(change: CheckpointChange) -> str:
    effect = "no event is handled again or skipped"
    if change.again:
        effect = f"{count(change.again, 'event')} handled again"
    if change.skipped:
        effect = f"{count(change.skipped, 'event')} skipped"
    return f"{change.name} from {change.before:,} to {change.after:,}: {effect}"


def load_checkpoints(session: Session) -> tuple[list[Checkpoint], Log]:
    """Who has come how far, of the read models and of the store, by name; and in which log."""
    from eskit.projections.opening import default_read_models_url

    if not reads_store(session):
        with open_engine(session) as engine:
            log = Log(store_id=engine.store_id, head=engine.head_position())
            return engine.checkpoints(), log
    project = session.find_project()
    with session.open_store() as store:
        models = project.read_models if project else default_read_models_url(session.store_url)
        return list_checkpoints(store, models)


def format_checkpoints(
    checkpoints: Sequence[Checkpoint], log: Log, now: datetime
) -> Iterator[Line]:
    """A checkpoint a line, the head of the log above them."""
    yield f"head of the log  {log.head:,}"
    yield from columns(
        [
            (
                (c.name, "name"),
                f"{c.position:,}",
                (ago(c.updated_at, now), "dim"),
                ("of another store" if log.is_strange_to(c) else "", "error"),
            )
            for c in checkpoints
        ],
        right=[1],
    )
    if not checkpoints:
        yield "No checkpoints yet"


def format_checkpoint(checkpoint: Checkpoint, log: Log, now: datetime) -> Iterator[Line]:
    """One checkpoint, a fact a line."""
    yield [(checkpoint.name, "name")]
    strange = log.is_strange_to(checkpoint)
    yield f"  position    {checkpoint.position:,}" + ("" if strange else f" of {log.head:,}")
    yield f"  event id    {checkpoint.event_id}"
    yield f"  store id    {checkpoint.store_id}"
    if strange:
        yield f"              not this one, {log.store_id}"
    yield f"  updated     {ago(checkpoint.updated_at, now)}"
