"""``eskit schema``: what the protos declare, and what their changes mean for stored events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.errors import FOUND
from eskit.cli.session import session_of
from eskit.cli.text import Line

if TYPE_CHECKING:
    from eskit.codegen.model import Aggregate

app = make_app("What the protos declare, and whether stored events still fit.")


@app.callback()
def group() -> None:
    """What the protos declare, and whether stored events still fit."""


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
    """Compare the working protos with what the store recorded, and say what would break.

    Exit 3 when stored events would be misread. The verdict is FULL, BACKWARD (new code reads
    what is stored), FORWARD (old code reads what is new) or BREAKING (neither).
    """
    from eskit.cli.evolution import evolution_object, format_evolution, run_check

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
    """List aggregates with their commands, queries and events, as the protos declare them."""
    from eskit.scaffold.protos import read_protos

    project = session_of(context).project
    protos = read_protos(project.proto_paths, nats_prefix=project.nats_prefix)
    aggregates = protos.schema.aggregates
    session_of(context).output.result(
        [aggregate_object(aggregate) for aggregate in aggregates], format_aggregates(aggregates)
    )


def aggregate_object(aggregate: Aggregate) -> dict[str, object]:
    """An aggregate as --json shows it."""
    return {
        "aggregate": aggregate.name,
        "state": aggregate.state.full_name,
        "id_field": aggregate.id_field,
        "file": aggregate.state.file,
        "methods": [
            {"kind": service.kind, "method": f"{service.full_name}/{rpc.name}"}
            for service in aggregate.services
            for rpc in service.rpcs
        ],
        "events": [
            {"event_type": event.message.full_name, "deprecated": event.deprecated}
            for event in aggregate.events
        ],
    }


def format_aggregates(aggregates: Sequence[Aggregate]) -> Iterator[Line]:
    """A block for each aggregate."""
    for aggregate in aggregates:
        yield [(aggregate.name, "name"), f"  {aggregate.state.full_name}, {aggregate.state.file}"]
        for service in aggregate.services:
            for rpc in service.rpcs:
                yield [(f"  {service.kind:8}", "dim"), f"{service.full_name}/{rpc.name}"]
        for event in aggregate.events:
            mark = "  deprecated" if event.deprecated else ""
            yield [("  event   ", "dim"), event.message.full_name, (mark, "dim")]
    if not aggregates:
        yield "No aggregate in the protos"
