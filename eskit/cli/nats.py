"""``eskit nats``: the embedded NATS server by itself, for development."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.session import session_of
from eskit.cli.stopping import stop_on_signal
from eskit.errors import ServiceError

if TYPE_CHECKING:
    from eskit.project import Project

app = make_app("Start the embedded NATS server.")


@app.callback()
def group() -> None:
    """Start the embedded NATS server."""


@app.command("start", **examples("eskit nats start", "eskit nats start --port 4222"))
def start(
    context: typer.Context,
    port: Annotated[int, typer.Option(metavar="N", min=-1, help="-1: a free one.")] = -1,
) -> None:
    """Run a NATS server with JetStream for this project until Ctrl-C.

    Other terminals of the project find it by themselves.
    """
    from eskit.runtime.embedded import EmbeddedNats

    session = session_of(context)
    project = session.project
    refuse_second_server(project)
    with (
        stop_on_signal() as stop,
        EmbeddedNats(nats_folder(project), port=port) as server,
    ):
        server.announce(project.root)
        session.output.result(
            {"url": server.address, "pid": server.pid},
            [f"NATS runs at {server.address} until Ctrl-C"],
        )
        while not stop.wait(_CHECK_EVERY):
            server.check_health()
    session.output.note("NATS stopped")


_CHECK_EVERY = 1.0


def nats_folder(project: Project) -> Path:
    """Where the project's embedded server keeps its streams."""
    folder = project.state_dir / "nats"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def refuse_second_server(project: Project) -> None:
    """Raise ServiceError when a server of the project runs already: they share a folder."""
    from eskit.runtime.embedded import find_announced

    if url := find_announced(project.root):
        raise ServiceError(
            f"A NATS server of this project runs already, at {url.rpartition('@')[2]}",
            hint="Use that one, or stop it first with Ctrl-C in its terminal.",
        )
