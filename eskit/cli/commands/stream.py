"""``eskit stream``: list, read and erase event streams."""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from eskit.cli.groups import examples, make_app
from eskit.cli.interrupts import explain_interrupt
from eskit.cli.options import Limit
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.events import format_fields, format_heading
from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, ago
from eskit.cli.terminal.times import ClockOption, Times, TimeStyle
from eskit.errors import StreamNotFound
from eskit.reports.envelope import limited
from eskit.reports.events import event_object
from eskit.reports.payloads import GeneratedTypes, PayloadReader, load_event_types
from eskit.reports.streams import Erasures, erasure_object, key_of, load_erasures, stream_object
from eskit.schema.pools import descriptor_of
from eskit.text.quantities import count
from eskit.text.suggestions import find_nearest

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from eskit.domain.events import RecordedEvent
    from eskit.store.eventstore import EventStore
    from eskit.store.records import Erasure, StreamInfo

app = make_app("List, read and erase event streams.")

Tenant = Annotated[str, typer.Option(metavar="NAME", help="Of this tenant.", show_default=False)]
"""The tenant option of commands that look at one stream."""
_LOOKED_AT = 2_000
"""How many streams are looked at for one that may be meant."""
_NAMED = 5
"""How many tenants are named."""


@app.command(
    "list",
    **examples(
        "eskit stream list",
        "eskit stream list --prefix Account-acc",
        "eskit stream list --erased",
        "eskit stream list --json",
    ),
)
def list_streams(
    context: typer.Context,
    prefix: Annotated[str, typer.Option(metavar="P", help="Name prefix.")] = "",
    limit: Limit = 100,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this tenant.")] = None,
    erased: Annotated[
        bool,
        typer.Option("--erased", help="Only erased streams, with who erased them, when and why."),
    ] = False,
) -> None:
    """List streams by name, with their version and when they were last written to.

    Erased streams are marked. With --json each stream has its erasures, oldest first.
    """
    session = session_of(context)
    with session.open_store() as store:
        erasures = load_erasures(store)
        of_tenant = store if tenant is None else store.for_tenant(tenant)
        streams = of_tenant.list_streams(prefix=prefix, limit=None if erased else limit + 1)
        chosen = (stream for stream in streams if not erased or key_of(stream) in erasures)
        shown, more = limited(chosen, limit, narrower="give a --prefix")
    format_found = format_erased if erased else format_streams
    session.output.result(
        [stream_object(stream, erasures) for stream in shown],
        format_found(shown, erasures, datetime.now(UTC)),
        diagnostics=more,
    )


@app.command(
    "read",
    **examples(
        "eskit stream read Account-acc-001",
        "eskit stream read Account-acc-001 --after 2 --limit 10",
        "eskit stream read Account-acc-001 --json",
        streaming=True,
    ),
)
def read(
    context: typer.Context,
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="As in Account-acc-001.")],
    after: Annotated[int, typer.Option(metavar="N", min=0, help="Only versions above N.")] = 0,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Maximum number of rows.")
    ] = None,
    backward: Annotated[bool, typer.Option("--backward", help="Newest first.")] = False,
    clock: ClockOption = TimeStyle.DELTA,
    tenant: Tenant = "",
) -> None:
    """Show the events of one stream as they are stored.

    With --json one event object per line.
    """
    session = session_of(context)
    with session.open_store() as store:
        version = store.for_tenant(tenant).stream_version(stream)
        if version == 0:
            refuse_unknown(store, stream, tenant)
        if after >= version:
            session.output.note(f"Nothing after {after:,}: {stream} ends at version {version:,}")
        payload_of = payload_reader(session, store)
        events = store.for_tenant(tenant).read_stream(
            stream, after=after, limit=limit, backward=backward
        )
        if session.output.as_json:
            for event in events:
                session.output.record(event_object(event, payload_of(event)), ())
        else:
            times = Times(clock=clock, backward=backward)
            session.output.show(format_stream(stream, version, events, payload_of, times))


@app.command(
    "erase",
    **examples(
        "eskit stream erase Account-acc-001 --reason 'request 17' --dry-run",
        "eskit stream erase Account-acc-001 --reason 'request 17' --yes",
    ),
)
def erase(
    context: typer.Context,
    streams: Annotated[list[str], typer.Argument(metavar="STREAM...", help="What to erase.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept as the audit record.")],
    by: Annotated[
        str, typer.Option(metavar="NAME", help="Who erases; the user of this machine by default.")
    ] = "",
    tenant: Tenant = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be erased, change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase the contents of streams for good: payloads, claims and responses.

    Versions, positions, types, times and IDs stay, and eskit keeps an audit record. It rewrites the
    store's file, and writers wait meanwhile. Erasing does not reach earlier backups and exports,
    read models and NATS: see docs/operations-store.md.
    """
    from eskit.operations.erasing import erase as erase_streams

    session = session_of(context)
    with session.open_store() as store:
        planned = plan_erasure(store, streams, tenant)
        if dry_run:
            data = [asdict(p) for p in planned]
            session.output.result(data, [f"Would erase {_described(p)}" for p in planned])
            return
    if not yes:
        session.output.confirm(f"Erase {', '.join(map(_described, planned))} for good?")
    with (
        explain_interrupt(lambda: _erased_so_far(session, streams, tenant)),
        session.open_store() as store,
    ):
        done = erase_streams(
            store.for_tenant(tenant), streams, reason=reason, erased_by=by or getpass.getuser()
        )
    session.output.result(
        [erasure_object(erasure) for erasure in done],
        [[(e.stream, "name"), f"  {count(e.events, 'event')} erased"] for e in done],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedErasure:
    """What erasing a stream would blank."""

    stream: str
    tenant: str
    version: int
    events: int


def plan_erasure(store: EventStore, streams: Sequence[str], tenant: str) -> list[PlannedErasure]:
    """How many events of each stream would be blanked; StreamNotFound for one that is not there."""
    planned = []
    for stream in streams:
        version = store.for_tenant(tenant).stream_version(stream)
        if version == 0:
            refuse_unknown(store, stream, tenant)
        events = sum(not event.erased for event in store.for_tenant(tenant).read_stream(stream))
        planned.append(PlannedErasure(stream=stream, tenant=tenant, version=version, events=events))
    return planned


def _erased_so_far(session: Session, streams: Sequence[str], tenant: str) -> str:
    """What an interrupted erasure has done, from the current state of the store."""
    with session.open_store() as store:
        now = plan_erasure(store, streams, tenant)
    erased = [planned.stream for planned in now if not planned.events]
    left = [planned.stream for planned in now if planned.events]
    if not erased:
        return "Nothing was erased"
    not_yet = f", not yet {', '.join(left)}" if left else ""
    return (
        f"{', '.join(erased)} erased{not_yet}\n"
        "Erased content may remain in the file: run the command again to clear it"
    )


def _described(planned: PlannedErasure) -> str:
    return f"{planned.stream} ({count(planned.events, 'event')})"


def payload_reader(session: Session, store: EventStore) -> PayloadReader:
    """Decodes events as they were written, by the schemas of `store`, else by generated code."""
    from eskit.store.decoding import EventDecoder

    return PayloadReader(EventDecoder(store), generated_types(session))


def generated_types(session: Session) -> GeneratedTypes:
    """Decodes events by the project's generated code."""
    return GeneratedTypes(lambda: load_types(session))


def load_types(session: Session) -> None:
    """Load what decodes the project's events, and say on stderr what could not be loaded."""
    for problem in load_event_types(session.find_project()):
        session.output.warn(problem, hint="Its events are shown undecoded. Run: eskit gen")


def load_open_types(session: Session, *messages: type[Message]) -> None:
    """Load all of the project's messages if one of these can hold any of them, or extensions."""
    from eskit.schema.pools import is_open

    if any(is_open(descriptor_of(message)) for message in messages):
        load_types(session)


def refuse_unknown(store: EventStore, stream: str, tenant: str) -> NoReturn:
    """Raise StreamNotFound that names the nearest streams there are."""
    raise StreamNotFound(stream, hint=nearest_hint(store, stream, tenant))


def nearest_hint(store: EventStore, stream: str, tenant: str) -> str:
    """What to do about a stream that does not exist."""
    namesakes = [s.tenant for s in store.list_streams(prefix=stream) if s.stream == stream]
    if owner := next(filter(None, namesakes), ""):
        return f"Tenant {owner} has one of this name: give --tenant {owner}"
    known = _known_streams(store, stream, tenant)
    by_lower = {name.lower(): name for name in known}
    nearest = find_nearest(stream.lower(), by_lower)
    if nearest:
        return f"Did you mean {by_lower[nearest]}?"
    return "See what there is: eskit stream list" if known else _tenants_hint(store, tenant)


def _known_streams(store: EventStore, stream: str, tenant: str) -> list[str]:
    """Streams a misspelt name may have meant: those that begin like it, else any."""
    for prefix in (stream[: len(stream) * 2 // 3], stream.partition("-")[0][:1], ""):
        infos = store.for_tenant(tenant).list_streams(prefix=prefix, limit=_LOOKED_AT)
        found = [info.stream for info in infos]
        if found:
            return found
    return []


def _tenants_hint(store: EventStore, tenant: str) -> str:
    """Who has streams where a tenant has none."""
    tenants = sorted({s.tenant for s in store.list_streams(limit=_LOOKED_AT)})
    if not tenants:
        return "The store has no streams yet."
    nobody = f"Tenant {tenant} has no streams" if tenant else "All streams belong to a tenant"
    if tenants == [""]:
        return f"{nobody}: leave --tenant out, no stream belongs to a tenant"
    others = ", ".join(filter(None, tenants[:_NAMED]))
    return f"{nobody}. Tenants with streams: {others}{', …' if len(tenants) > _NAMED else ''}"


def format_erased(
    streams: Sequence[StreamInfo], erasures: Erasures, now: datetime
) -> Iterator[Line]:
    """Each stream, and below it an erasure a line: how much, when, by whom, why."""
    if not streams:
        yield "No erased streams"
    for stream in streams:
        in_tenant = f"  {stream.tenant}" if stream.tenant else ""
        yield [(stream.stream, "name"), f"  {count(stream.version, 'event')}{in_tenant}"]
        for erasure in erasures[key_of(stream)]:
            yield [
                f"  {count(erasure.events, 'event')} erased, up to version {erasure.version:,}  ",
                (ago(erasure.erased_at, now), "dim"),
                f"  by {erasure.erased_by}: {erasure.reason}",
            ]


def format_streams(
    streams: Sequence[StreamInfo], erasures: Erasures, now: datetime
) -> Iterator[Line]:
    """A stream a line: name, number of events, last write, and whether it was erased."""
    if not streams:
        yield "No streams"
        return
    with_tenant = any(stream.tenant for stream in streams)
    yield from columns(
        [
            (
                (stream.stream, "name"),
                count(stream.version, "event"),
                (ago(stream.last_recorded_at, now), "dim"),
                *((stream.tenant,) if with_tenant else ()),
                (_erased_up_to(stream, erasures.get(key_of(stream), ())), "dim"),
            )
            for stream in streams
        ],
        right=[1],
        whole=0,
    )


def _erased_up_to(stream: StreamInfo, erasures: Sequence[Erasure]) -> str:
    last = max((erasure.version for erasure in erasures), default=0)
    if not last:
        return ""
    return "erased" if last == stream.version else f"erased up to version {last:,}"


def format_stream(
    stream: str,
    version: int,
    events: Iterable[RecordedEvent],
    payload_of: PayloadReader,
    times: Times,
) -> Iterator[Line]:
    """The stream's name and size, then a block for each event."""
    yield [(stream, "name"), f" · {count(version, 'event')}"]
    for event in events:
        yield ""
        yield format_heading(event, times.of(event.recorded_at))
        yield from format_fields(payload_of(event), len(event.data))
