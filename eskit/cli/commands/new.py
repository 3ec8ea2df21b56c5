"""``eskit new``: start a project, or add to one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.groups import examples, make_app
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line
from eskit.reports.generated import plan_object
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.scaffold.missing import MissingMethods
    from eskit.scaffold.plan import Plan

app = make_app("Start a project, or add to one.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan, write nothing.")]
"""The option of every command that creates files."""


@app.command(
    "project",
    **examples(
        "eskit new project shop",
        "eskit new project bank --template bank --dry-run",
        "eskit new project bank --template bank --database postgres",
    ),
)
def new_project(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The project and its folder.")],
    template: Annotated[
        str, typer.Option(metavar="T", help="What to start from: blank, bank or subscription.")
    ] = "blank",
    database: Annotated[
        str, typer.Option(metavar="D", help="Where events and rows go: sqlite or postgres.")
    ] = "sqlite",
    dry_run: DryRun = False,
) -> None:
    """Create a folder with a new project in it. Nothing that exists is touched."""
    from eskit.scaffold.project import new_project as plan_project

    session = session_of(context)
    target = Path(name)
    plan = plan_project(
        target.name, target=session.directory / target, template=template, database=database
    )
    carry_out(session, plan, dry_run=dry_run)


@app.command(
    "aggregate",
    **examples(
        "eskit new aggregate proto/account/v1/account.proto",
        "eskit new aggregate Invoice --field customer:string --field cents:int64",
    ),
)
def new_aggregate(
    context: typer.Context,
    proto: Annotated[
        str, typer.Argument(metavar="PROTO", help="A proto file of the project, or a new NAME.")
    ],
    fields: Annotated[
        list[str] | None,
        typer.Option("--field", metavar="NAME:TYPE", help="A field of a new aggregate's state."),
    ] = None,
    dry_run: DryRun = False,
) -> None:
    """Create a module and a test for each aggregate of a proto file that has none yet.

    An existing module stays as it is: eskit shows the methods that it lacks, ready to paste. Given
    a NAME instead of a file, eskit writes a first proto.
    """
    session = session_of(context)
    if proto.endswith(".proto"):
        from eskit.scaffold.aggregate import new_aggregate as plan_aggregate

        if fields:
            raise typer.BadParameter("It is for a new NAME, not for a proto", param_hint="--field")
        plan = plan_aggregate(session.project, session.directory / proto)
    else:
        from eskit.scaffold.starter import new_proto

        plan = new_proto(session.project, proto, fields=fields or [])
    carry_out(session, plan, dry_run=dry_run)


@app.command(
    "projection",
    **examples("eskit new projection statements --on MoneyDeposited --on MoneyWithdrawn"),
)
def new_projection(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as account-balance.")],
    events: Annotated[
        list[str], typer.Option("--on", metavar="EVENT", help="An event that it handles.")
    ],
    dry_run: DryRun = False,
) -> None:
    """Create a projection: its module, a first migration, and a test."""
    from eskit.scaffold.projection import new_projection as plan_projection

    session = session_of(context)
    plan = plan_projection(session.project, name, events=events)
    carry_out(session, plan, dry_run=dry_run)


def carry_out(session: Session, plan: Plan, *, dry_run: bool) -> None:
    """Create what the plan says, unless it is only to be shown, and show it."""
    if not dry_run:
        plan.apply()
    session.output.result(plan_object(plan, dry_run=dry_run), format_plan(plan, dry_run=dry_run))


def _format_missing(missing: MissingMethods, root: Path) -> Iterator[Line]:
    """The methods that a file lacks, as they are pasted."""
    file = missing.path.relative_to(root)
    lacking = count(len(missing.methods), "method")
    yield [(f"{file} lacks {lacking}", "name"), ": paste what follows and write it"]
    yield ""
    if missing.imports:
        yield from (line for text in missing.imports for line in text.splitlines())
        yield ""
    yield from missing.code.splitlines()


def format_plan(plan: Plan, *, dry_run: bool) -> Iterator[Line]:
    """The files, numbered, and what to do next."""
    for missing in plan.missing:
        yield from _format_missing(missing, plan.root)
    if not (plan.files or plan.missing):
        yield "Nothing to create: everything is there"
    if plan.files:
        done = "would be created" if dry_run else "created"
        yield [(f"{count(len(plan.files), 'file')} {done}", "name"), f" in {plan.root}"]
        yield from columns(
            [
                (f"{number}", (str(file.path), "key"), (file.description, "dim"))
                for number, file in enumerate(plan.files, start=1)
            ],
            right=[0],
            whole=1,
            wrapped=True,
        )
    if plan.next_steps:
        yield ""
        yield "Next:"
        style = "" if plan.creates_root else "hint"  # into a new folder the first step goes
        for step in plan.next_steps:
            for text in step.splitlines():
                yield ["  ", (text, style)]
