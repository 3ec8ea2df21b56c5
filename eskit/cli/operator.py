"""Options of commands that decide something about a projection: why, who, and no question."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; kept as the audit record.")]
By = Annotated[
    str, typer.Option(metavar="NAME", help="Who decides; the user of this machine by default.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen, change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def decider(by: str) -> str:
    """Who decides: as given, else the user of this machine."""
    return by or getpass.getuser()
