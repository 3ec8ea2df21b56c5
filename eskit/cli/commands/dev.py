"""``eskit dev``: everything in one terminal, with what happens."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands.serve import Chosen, run_app
from eskit.cli.groups import examples, make_app
from eskit.cli.service_runner import Health
from eskit.cli.session import Session, session_of

if TYPE_CHECKING:
    from eskit.runtime.postgres import OwnPostgres

app = make_app()


@app.command(
    **examples("eskit dev", "eskit dev --health 8080", "eskit dev --postgres", streaming=True)
)
def dev(
    context: typer.Context,
    postgres: Annotated[
        bool, typer.Option("--postgres", help="Keep the events in a PostgreSQL server of its own.")
    ] = False,
    health: Health = None,
) -> None:
    """Run NATS, services, relay, projections and reactions, and show events and calls.

    Like eskit serve, with a line for each event and call. With --postgres eskit runs a PostgreSQL
    server on the loopback interface, which other commands of the project use meanwhile, too. It
    keeps its data in .eskit/postgres.
    """
    from eskit.runtime.host import Parts

    session = session_of(context)
    if not postgres:
        run_app(session, Chosen(parts=Parts(), health=health, show=True))
        return
    if session.names_store():
        raise typer.BadParameter("Another store is named", param_hint="--postgres")
    server = _own_postgres(session)
    with server.running() as url:
        session.project = session.project.on_own_postgres(url)
        run_app(session, Chosen(parts=Parts(), postgres=server, health=health, show=True))


def _own_postgres(session: Session) -> OwnPostgres:
    """The project's server, not started."""
    from eskit.runtime.postgres import OwnPostgres

    project = session.project
    # Where root's server runs as another user, that user has to reach its folder.
    project.state_dir.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        project.state_dir.chmod(0o711)
    return OwnPostgres(project.postgres_folder, project.postgres_announcement)
