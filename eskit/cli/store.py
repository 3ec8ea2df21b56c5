"""``eskit store``: create and inspect the event store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.session import session_of
from eskit.cli.text import Line, columns

if TYPE_CHECKING:
    from eskit.store.eventstore import StoreInfo
    from eskit.store.migrating import Migration

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


@app.command("migrate", **examples("eskit store migrate --dry-run", "eskit store migrate"))
def migrate(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, change nothing.")
    ] = False,
) -> None:
    """Bring a store of an older eskit to this one's schema, with a backup beside it first."""
    from eskit.store.migrating import migrate as migrate_store

    session = session_of(context)
    with session.output.progress() as report:
        done = migrate_store(
            session.store_url,
            dry_run=dry_run,
            progress=lambda step: report(step.name, step.done, step.total),
        )
    data = {**asdict(done), "backup": str(done.backup) if done.backup else None, "dry_run": dry_run}
    session.output.result(data, format_migration(done, dry_run=dry_run))


def format_migration(migration: Migration, *, dry_run: bool) -> Iterator[Line]:
    """From which version to which, and where the backup is."""
    if not migration.needed:
        yield f"Nothing to migrate: the schema version is {migration.after}"
        return
    verb = "would be migrated" if dry_run else "migrated"
    yield f"Schema {verb} from version {migration.before} to {migration.after}"
    if migration.backup is not None:
        yield f"  backup  {migration.backup}"


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
