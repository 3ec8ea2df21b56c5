"""``eskit stream``: list and read event streams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.events import (
    GeneratedTypes,
    PayloadReader,
    event_object,
    format_fields,
    format_heading,
    format_when,
    load_event_types,
)
from eskit.cli.session import Session, session_of
from eskit.cli.text import Line, ago, columns, count, timestamp
from eskit.errors import StreamNotFound

if TYPE_CHECKING:
    from eskit.domain.events import RecordedEvent
    from eskit.store.eventstore import EventStore, StreamInfo

app = make_app("List and read event streams.")

Tenant = Annotated[str, typer.Option(metavar="NAME", help="Of this tenant.", show_default=False)]
"""The tenant option of commands that look at one stream."""


@app.command(
    "list",
    **examples(
        "eskit stream list", "eskit stream list --prefix Account-acc", "eskit stream list --json"
    ),
)
def list_streams(
    context: typer.Context,
    prefix: Annotated[str, typer.Option(metavar="P", help="Only names that start so.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 100,
    tenant: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this tenant.")] = None,
) -> None:
    """List streams by name, with their version and when they were last written to."""
    session = session_of(context)
    with session.open_store() as store:
        found = list(store.list_streams(prefix=prefix, limit=limit + 1, tenant=tenant))
    shown = found[:limit]
    session.output.result(
        [stream_object(stream) for stream in shown], format_streams(shown, datetime.now(UTC))
    )
    if len(found) > limit and not session.output.as_json:
        session.output.note(f"More than {limit:,}: raise --limit or give a --prefix")


@app.command(
    "read",
    **examples(
        "eskit stream read Account-acc-001",
        "eskit stream read Account-acc-001 --after 2 --limit 10",
        "eskit stream read Account-acc-001 --json",
    ),
)
def read(
    context: typer.Context,
    stream: Annotated[str, typer.Argument(metavar="STREAM", help="As in Account-acc-001.")],
    after: Annotated[int, typer.Option(metavar="N", min=0, help="Only versions above N.")] = 0,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most so many.")] = None,
    backward: Annotated[bool, typer.Option("--backward", help="Newest first.")] = False,
    tenant: Tenant = "",
) -> None:
    """Show the events of one stream as they are stored.

    With --json one event object per line.
    """
    session = session_of(context)
    session.output.streaming = True
    with session.open_store() as store:
        version = store.stream_version(stream, tenant)
        if version == 0:
            refuse_unknown(store, stream, tenant)
        payload_of = payload_reader(session, store)
        events = store.read_stream(
            stream, after=after, limit=limit, backward=backward, tenant=tenant
        )
        if session.output.as_json:
            for event in events:
                session.output.record(event_object(event, payload_of(event)), ())
        else:
            session.output.show(
                format_stream(stream, version, events, payload_of, datetime.now(UTC))
            )


def payload_reader(session: Session, store: EventStore) -> PayloadReader:
    """Decodes events as they were written, by the schemas of `store`, else by generated code."""
    from eskit.store.decoding import EventDecoder

    return PayloadReader(EventDecoder(store).decode, generated_types(session))


def generated_types(session: Session) -> GeneratedTypes:
    """Decodes events by the project's generated code."""
    return GeneratedTypes(lambda: load_types(session))


def load_types(session: Session) -> None:
    """Load what decodes the project's events, and say on stderr what could not be loaded."""
    for problem in load_event_types(session.find_project()):
        session.output.warn(problem, hint="Its events are shown undecoded. Run: eskit gen")


def refuse_unknown(store: EventStore, stream: str, tenant: str) -> NoReturn:
    """Raise StreamNotFound that names the nearest streams there are."""
    raise StreamNotFound(stream, hint=nearest_hint(stream, known_streams(store, stream, tenant)))


def known_streams(store: EventStore, stream: str, tenant: str) -> list[str]:
    """Streams a misspelt name may have meant: those that begin like it, else any."""
    for prefix in (stream[: len(stream) * 2 // 3], stream.partition("-")[0][:1], ""):
        found = [s.stream for s in store.list_streams(prefix=prefix, limit=2_000, tenant=tenant)]
        if found:
            return found
    return []


def nearest_hint(stream: str, known: Sequence[str]) -> str:
    """What to do about a stream that does not exist."""
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in known}
    nearest = [by_lower[name] for name in get_close_matches(stream.lower(), by_lower, n=1)]
    if nearest:
        return f"Did you mean {nearest[0]}?"
    return "See what there is: eskit stream list" if known else "The store has no streams yet."


def stream_object(stream: StreamInfo) -> dict[str, object]:
    """A stream as --json shows it."""
    return {
        "stream": stream.stream,
        "category": stream.category,
        "version": stream.version,
        "first_recorded_at": timestamp(stream.first_recorded_at),
        "last_recorded_at": timestamp(stream.last_recorded_at),
        "tenant": stream.tenant,
    }


def format_streams(streams: Sequence[StreamInfo], now: datetime) -> Iterator[Line]:
    """A stream a line: name, number of events, last write."""
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
            )
            for stream in streams
        ],
        right=[1],
    )


def format_stream(
    stream: str,
    version: int,
    events: Iterable[RecordedEvent],
    payload_of: PayloadReader,
    now: datetime,
) -> Iterator[Line]:
    """The stream's name and size, then a block for each event."""
    yield [(stream, "name"), f" · {count(version, 'event')}"]
    previous: datetime | None = None
    for event in events:
        yield ""
        yield format_heading(event, format_when(event.recorded_at, previous, now))
        yield from format_fields(payload_of(event), len(event.data))
        previous = event.recorded_at
