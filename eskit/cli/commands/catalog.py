"""``eskit catalog``: the parts of the service, and how they are connected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.groups import examples, make_app
from eskit.cli.session import session_of
from eskit.cli.terminal.errors import FOUND
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line
from eskit.errors import InvalidArgument
from eskit.files.regular import read_regular

if TYPE_CHECKING:
    from eskit.catalog.description import Catalog, CatalogAggregate

app = make_app()


@app.command(
    **examples(
        "eskit catalog",
        "eskit catalog --markdown > docs/catalog.md",
        "eskit catalog --check docs/catalog.md",
    )
)
def catalog(
    context: typer.Context,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown with a Mermaid diagram.")
    ] = False,
    check: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Exit 3 unless FILE holds the current Markdown."),
    ] = None,
) -> None:
    """Show the parts of the app, from commands to queries, and how they are connected.

    eskit reads the protos and the app. It finds the events that a command emits, and the commands
    that a reaction sends, in their source, without running it.
    """
    from eskit.catalog.description import make_catalog
    from eskit.catalog.markdown import render_catalog
    from eskit.codegen.reading.protos import read_protos

    session = session_of(context)
    project = session.project
    protos = read_protos(project)
    found = make_catalog(protos.schema, protos.files, session.load_app())
    if check is not None:
        current = _is_current(session.directory / check, render_catalog(found))
        again = f"eskit catalog --markdown > {check}"
        lines: list[Line] = (
            [f"{check} is up to date"]
            if current
            else [[f"{check} is not up to date; bring it up to date with: ", (again, "command")]]
        )
        session.output.result({"file": str(check), "up_to_date": current}, lines, found=not current)
        if not current:
            raise typer.Exit(FOUND)
    elif markdown and not session.output.as_json:
        session.output.show(render_catalog(found).splitlines())
    else:
        session.output.result(asdict(found), format_catalog(found))


def _is_current(file: Path, text: str) -> bool:
    try:
        return read_regular(file) == text.encode()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InvalidArgument(f"{file} cannot be read: {error}") from error


def format_catalog(found: Catalog) -> Iterator[Line]:
    """A block for each aggregate, then the projections and reactions."""
    for aggregate in found.aggregates:
        yield from _format_aggregate(aggregate)
        yield ""
    for method in found.services:
        yield [("service   ", "dim"), method.path]
    yield from columns(
        [
            (
                ("projection", "dim"),
                (projection.name, "name"),
                "handles " + (_short_list(projection.handles) or "nothing"),
            )
            for projection in found.projections
        ]
        + [
            (
                ("reaction", "dim"),
                (reaction.name, "name"),
                f"on {_short_list(reaction.handles) or 'nothing'} → "
                + (
                    ", ".join(path.rpartition("/")[2] for path in reaction.sends)
                    or "no command seen"
                ),
            )
            for reaction in found.reactions
        ],
        whole=1,
        wrapped=True,
    )
    if not (found.aggregates or found.services or found.projections or found.reactions):
        yield "Nothing in the protos and in the app"


def _format_aggregate(aggregate: CatalogAggregate) -> Iterator[Line]:
    yield [(aggregate.name, "name"), f"  {aggregate.state}, {aggregate.file}"]
    commands = [
        (("  command", "dim"), c.name, "→ " + (_short_list(c.emits) or "no event seen"))
        for c in aggregate.commands
    ]
    events = [
        (
            ("  event", "dim"),
            event.name,
            f"read as {_short_list([event.read_as])}"
            if event.read_as
            else "→ " + (", ".join((*event.handled_by, *event.reacted_to_by)) or "no projection"),
        )
        for event in aggregate.events
    ]
    queries = [
        (("  query", "dim"), q.name, "← " + (", ".join(q.reads) or "no projection"))
        for q in aggregate.queries
    ]
    yield from columns([*commands, *events, *queries], whole=1, wrapped=True)


def _short_list(event_types: tuple[str, ...] | list[str]) -> str:
    return ", ".join(name.rpartition(".")[2] for name in event_types)
