"""``eskit dev``: everything in one terminal, with what happens."""

from __future__ import annotations

import typer

from eskit.cli.commands.serve import Chosen, run_app
from eskit.cli.groups import examples, make_app
from eskit.cli.service_runner import Health
from eskit.cli.session import session_of

app = make_app()


@app.command(**examples("eskit dev", "eskit dev --health 8080", streaming=True))
def dev(context: typer.Context, health: Health = None) -> None:
    """Run NATS, services, relay, projections and reactions, and show events and calls.

    Like eskit serve, with a line for each event and call.
    """
    from eskit.runtime.host import Parts

    run_app(session_of(context), Chosen(parts=Parts(), health=health, show=True))
