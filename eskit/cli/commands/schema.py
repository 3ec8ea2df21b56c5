"""``eskit schema``: what the protos declare, and what their changes mean for stored events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.groups import examples, make_app
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.errors import FOUND
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line
from eskit.reports.schema import (
    Stored,
    aggregate_object,
    evolution_object,
    find_undeclared,
    load_stored,
)

if TYPE_CHECKING:
    from eskit.codegen.reading.model import Aggregate

app = make_app("List schemas, and check changes against stored events.")


@app.callback()
def group() -> None:
    """List schemas, and check changes against stored events."""


@app.command(
    "check",
    **examples(
        "eskit schema check",
        "eskit schema check --against main",
        "eskit schema check --decode --json",
    ),
)
def check(
    context: typer.Context,
    against: Annotated[
        str,
        typer.Option(metavar="REF_OR_DIR", help="Compare also with this git ref or folder."),
    ] = "",
    decode: Annotated[
        bool, typer.Option("--decode", help="Read every stored event with the working protos.")
    ] = False,
) -> None:
    """Compare the working protos with the recorded schemas, and show what would break.

    Exits with 3 if new code would misread stored events, or could. The verdict is FULL, BACKWARD
    (new code reads old events), FORWARD (old code reads new events), BREAKING (neither) or UNKNOWN.
    --against also compares the requests and responses of services.
    """
    from eskit.cli.commands.evolution import format_evolution, run_check

    session = session_of(context)
    found, diagnostics = run_check(session, against=against, decode=decode)
    session.output.result(
        evolution_object(found),
        format_evolution(found, against=against),
        found=found.breaking,
        diagnostics=diagnostics,
    )
    if found.breaking:
        raise typer.Exit(FOUND)


@app.command("list", **examples("eskit schema list", "eskit schema list --json"))
def list_schema(context: typer.Context) -> None:
    """List aggregates with their commands, queries and events, and count stored events.

    Each event type has its number of stored events and of schemas. A stored type that no proto
    declares is a warning.
    """
    from eskit.codegen.reading.protos import read_protos

    session = session_of(context)
    project = session.project
    protos = read_protos(project)
    aggregates = protos.schema.aggregates
    stored = read_stored(session)
    session.output.result(
        [aggregate_object(aggregate, stored) for aggregate in aggregates],
        format_aggregates(aggregates, stored),
        diagnostics=find_undeclared(aggregates, stored),
    )


def read_stored(session: Session) -> Mapping[str, Stored] | None:
    """What the store has of every event type in it; None where there is no store yet."""
    if not session.store_exists():
        return None
    with session.open_store() as store:
        return load_stored(store)


def format_aggregates(
    aggregates: Sequence[Aggregate], stored: Mapping[str, Stored] | None
) -> Iterator[Line]:
    """A block for each aggregate."""
    for aggregate in aggregates:
        yield [(aggregate.name, "name"), f"  {aggregate.state.full_name}, {aggregate.state.file}"]
        for service in aggregate.services:
            for rpc in service.rpcs:
                yield [(f"  {service.kind:8}", "dim"), f"{service.full_name}/{rpc.name}"]
        yield from columns(
            [
                ("  event ", "dim"),
                event.message.full_name,
                (_format_stored(event.message.full_name, stored), "dim"),
                ("deprecated" if event.deprecated else "", "dim"),
            ]
            for event in aggregate.events
        )
    if not aggregates:
        yield "No aggregate in the protos"


def _format_stored(event_type: str, stored: Mapping[str, Stored] | None) -> str:
    if stored is None or event_type not in stored:
        return ""
    found = stored[event_type]
    schemas = f", {found.schemas} schemas" if found.schemas > 1 else ""
    return f"{found.events:,} stored{schemas}"
