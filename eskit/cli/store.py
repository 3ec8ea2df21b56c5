"""``eskit store``: create and inspect the event store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.session import session_of
from eskit.cli.text import Line, columns

if TYPE_CHECKING:
    from eskit.store.eventstore import StoreInfo

app = make_app("Create and inspect the event store.")


@app.command("init", **examples("eskit store init", "eskit store init --store sqlite:///copy.db"))
def init(context: typer.Context) -> None:
    """Create the event store, or check the one that is there.

    Nothing that is stored is touched. Other commands that write create the store by themselves.
    """
    session = session_of(context)
    with session.open_store(create=True) as store:
        info = store.info()
    session.output.result(asdict(info), format_info(info))


@app.command("info", **examples("eskit store info", "eskit store info --json"))
def info(context: typer.Context) -> None:
    """Show what the store holds: events, streams, size and schema version."""
    session = session_of(context)
    with session.open_store() as store:
        found = store.info()
    session.output.result(asdict(found), format_info(found))


def format_info(info: StoreInfo) -> Iterator[Line]:
    """One fact a line, the place first."""
    yield [(info.url, "name")]
    yield from columns(
        [
            ("  events", f"{info.events:,}"),
            ("  streams", f"{info.streams:,}"),
            ("  head", f"{info.head:,}"),
            ("  bytes", f"{info.bytes:,}"),
            ("  schema", str(info.schema_version)),
        ],
        right=[1],
    )
    yield f"  store id  {info.store_id}"
