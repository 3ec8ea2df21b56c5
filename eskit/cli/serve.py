"""``eskit serve``: services, relay and projections in one process."""

from __future__ import annotations

import typer

from eskit.cli.commands import examples, make_app

app = make_app()


@app.command(**examples("eskit serve"))
def serve(context: typer.Context) -> None:
    """Run services, relay and projections until Ctrl-C."""
