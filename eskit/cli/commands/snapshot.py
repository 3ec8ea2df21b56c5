"""``eskit snapshot``: folded states that aggregates load from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands.stream import Tenant, refuse_unknown
from eskit.cli.groups import examples, make_app
from eskit.cli.options import Limit
from eskit.cli.session import session_of
from eskit.cli.terminal.errors import FOUND
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, ago
from eskit.cli.terminal.wrapping import Hanging
from eskit.domain.streams import category_of, check_stream, id_of
from eskit.reports.envelope import limited
from eskit.reports.streams import checked_object, snapshot_object
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.store.eventstore import EventStore
    from eskit.store.records import Snapshot
    from eskit.store.snapshotting import CheckedSnapshot

app = make_app("List, create and check snapshots of aggregates.")

Prefix = Annotated[
    str,
    typer.Option(metavar="P", help="Only of streams with this name prefix.", show_default=False),
]
AnyTenant = Annotated[str | None, typer.Option(metavar="NAME", help="Only of this tenant.")]

_STYLES = {"ok": "", "stale": "dim"}
_DAMAGED = ("damaged", "error")


@app.command(
    "list", **examples("eskit snapshot list", "eskit snapshot list --prefix Account- --json")
)
def list_snapshots(
    context: typer.Context,
    prefix: Prefix = "",
    tenant: AnyTenant = None,
    limit: Limit = 100,
) -> None:
    """List snapshots by stream and version."""
    session = session_of(context)
    with session.open_store() as store:
        found = _of(store, tenant).snapshots.read(prefix=prefix)
        shown, more = limited(found, limit, narrower="give a --prefix")
    session.output.result(
        [snapshot_object(snapshot) for snapshot in shown],
        format_snapshots(shown, datetime.now(UTC)),
        diagnostics=more,
        cut=True,
    )


def _of(store: EventStore, tenant: str | None) -> EventStore:
    """The store of one tenant, or of all."""
    return store if tenant is None else store.for_tenant(tenant)


@app.command("create", **examples("eskit snapshot create Account-acc-001"))
def create(
    context: typer.Context,
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="As in Account-acc-001.")],
    tenant: Tenant = "",
) -> None:
    """Fold a stream now and keep its state as a snapshot.

    An app with a policy, App(snapshots=…), saves snapshots by itself.
    """
    from eskit.store.snapshotting import create_snapshot

    session = session_of(context)
    aggregate = category_of(check_stream(stream))
    loaded = session.load_app()
    with session.open_store() as store:
        if store.for_tenant(tenant).stream_version(stream) == 0:
            refuse_unknown(store, stream, tenant)
        made = create_snapshot(
            store.for_tenant(tenant),
            loaded.aggregate(aggregate),
            id_of(stream),
            upcasters=loaded.upcasters,
            policy=loaded.snapshots,
        )
    session.output.result(snapshot_object(made), format_snapshots([made], datetime.now(UTC)))


@app.command(
    "prune",
    **examples(
        "eskit snapshot prune --keep 1 --dry-run",
        "eskit snapshot prune --keep 1",
        "eskit snapshot prune --prefix Account- --keep 0",
    ),
)
def prune(
    context: typer.Context,
    keep: Annotated[int, typer.Option(metavar="N", min=0, help="Of each stream, the newest N.")],
    prefix: Prefix = "",
    tenant: AnyTenant = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be deleted, change nothing.")
    ] = False,
) -> None:
    """Delete all but the newest snapshots of each stream.

    No event is lost: eskit can fold every state again.
    """
    session = session_of(context)
    with session.open_store() as store:
        deleted = _of(store, tenant).snapshots.prune(keep=keep, prefix=prefix, dry_run=dry_run)
    verb = "would be deleted" if dry_run else "deleted"
    session.output.result(
        {"deleted": deleted, "dry_run": dry_run}, [f"{count(deleted, 'snapshot')} {verb}"]
    )


@app.command(
    "verify",
    **examples("eskit snapshot verify", "eskit snapshot verify --prefix Account-acc-001 --json"),
)
def verify(context: typer.Context, prefix: Prefix = "", tenant: AnyTenant = None) -> None:
    """Fold the events again and compare: finds a forgotten fold_version.

    Exits with 3 if a snapshot differs from its events. Snapshots of another fold_version or schema
    are stale: eskit never uses them, and does not report them.
    """
    from eskit.store.snapshotting import check_snapshot

    session = session_of(context)
    loaded = session.load_app()
    with session.open_store() as store:
        checked = [
            check_snapshot(
                store, snapshot, loaded.aggregate(category_of(snapshot.stream)), loaded.upcasters
            )
            for snapshot in _of(store, tenant).snapshots.read(prefix=prefix)
        ]
    wrong = [one for one in checked if one.verdict not in {"ok", "stale"}]
    session.output.result(
        [checked_object(one) for one in checked],
        format_checked(checked, wrong),
        found=bool(wrong),
    )
    if wrong:
        raise typer.Exit(FOUND)


def format_snapshots(snapshots: Sequence[Snapshot], now: datetime) -> Iterator[Line]:
    """A snapshot a line."""
    if not snapshots:
        yield "No snapshots"
        return
    yield from columns(
        [
            (
                (snapshot.stream, "name"),
                f"version {snapshot.version:,}",
                f"{len(snapshot.state):,} bytes",
                (ago(snapshot.created_at, now), "dim") if snapshot.readable else _DAMAGED,
                (snapshot.tenant, "dim"),
            )
            for snapshot in snapshots
        ],
        right=[1, 2],
        whole=0,
    )


def format_checked(
    checked: Sequence[CheckedSnapshot], wrong: Sequence[CheckedSnapshot]
) -> Iterator[Line]:
    """Every snapshot with how it stands, then the answer."""
    yield from columns(
        [
            (
                (one.snapshot.stream, "name"),
                f"version {one.snapshot.version:,}",
                (one.verdict, _STYLES.get(one.verdict, "error")),
            )
            for one in checked
        ],
        right=[1],
        whole=0,
    )
    good = count(len(checked) - len(wrong), "snapshot")
    if not wrong:
        yield f"{good}, all match their events"
        return
    yield f"{good} as they should be, {len(wrong):,} not"
    delete = ("eskit snapshot prune --keep 0", "command")
    yield Hanging(["Raise fold_version on the aggregate, or delete them: ", delete], indent=2)
