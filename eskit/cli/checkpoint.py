"""``eskit checkpoint``: how far each follower of the log has come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.session import Session, session_of
from eskit.cli.text import Line, ago, columns, timestamp
from eskit.errors import ProjectionNotFound

if TYPE_CHECKING:
    from eskit.store.eventstore import Checkpoint

app = make_app("How far each follower of the log has come.")


@app.command("list", **examples("eskit checkpoint list", "eskit checkpoint list --json"))
def list_all(context: typer.Context) -> None:
    """List the checkpoints of projections and of the relay."""
    session = session_of(context)
    checkpoints, head = load_checkpoints(session)
    session.output.result(
        [checkpoint_object(c) for c in checkpoints],
        format_checkpoints(checkpoints, head, datetime.now(UTC)),
    )


@app.command("show", **examples("eskit checkpoint show account-balance"))
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A projection, or relay.")],
) -> None:
    """Show one checkpoint: the last event that was passed, and when."""
    session = session_of(context)
    checkpoints, head = load_checkpoints(session)
    found = next((c for c in checkpoints if c.name == name), None)
    if found is None:
        near = get_close_matches(name, [c.name for c in checkpoints], n=1)
        raise ProjectionNotFound(
            f"No checkpoint {name!r}",
            hint=f"Did you mean {near[0]}?" if near else "See: eskit checkpoint list",
        )
    session.output.result(
        checkpoint_object(found), format_checkpoint(found, head, datetime.now(UTC))
    )


def load_checkpoints(session: Session) -> tuple[list[Checkpoint], int]:
    """Every checkpoint, of the read models and of the store, by name; and the log's head."""
    from eskit.projections.engine import beside, list_checkpoints

    project = session.find_project()
    with session.open_store() as store:
        read_models = project.read_models if project else beside(store.url)
        found = [*list_checkpoints(read_models), *store.list_checkpoints()]
        return sorted(found, key=lambda c: c.name), store.head_position()


def checkpoint_object(checkpoint: Checkpoint) -> dict[str, object]:
    """A checkpoint as --json shows it."""
    return {
        "name": checkpoint.name,
        "position": checkpoint.position,
        "updated_at": timestamp(checkpoint.updated_at),
        "event_id": checkpoint.event_id,
        "store_id": checkpoint.store_id,
    }


def format_checkpoints(
    checkpoints: Sequence[Checkpoint], head: int, now: datetime
) -> Iterator[Line]:
    """A checkpoint a line, the head of the log above them."""
    yield f"head of the log  {head:,}"
    yield from columns(
        [
            ((c.name, "name"), f"{c.position:,}", (ago(c.updated_at, now), "dim"))
            for c in checkpoints
        ],
        right=[1],
    )
    if not checkpoints:
        yield "No checkpoints yet"


def format_checkpoint(checkpoint: Checkpoint, head: int, now: datetime) -> Iterator[Line]:
    """One checkpoint, a fact a line."""
    yield [(checkpoint.name, "name")]
    yield f"  position    {checkpoint.position:,} of {head:,}"
    yield f"  event id    {checkpoint.event_id}"
    yield f"  store id    {checkpoint.store_id}"
    yield f"  updated     {ago(checkpoint.updated_at, now)}"
