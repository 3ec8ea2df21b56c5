"""``eskit tail``: follow events, from NATS or straight from the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.events import Payload, PayloadReader, event_object, short_type
from eskit.cli.session import Session, session_of
from eskit.cli.stream import generated_types, payload_reader
from eskit.cli.text import Line, Span, count
from eskit.cli.times import parse_duration
from eskit.cli.values import leaves
from eskit.domain.streams import id_of
from eskit.errors import InvalidArgument

if TYPE_CHECKING:
    from eskit.domain.events import RecordedEvent
    from eskit.messaging.tail import TailRequest

app = make_app()


class Source(StrEnum):
    """Where events are followed from."""

    AUTO = "auto"
    NATS = "nats"
    STORE = "store"


@dataclass(slots=True)
class Seen:
    """What has been shown so far."""

    events: int = 0
    position: int = 0
    at: datetime | None = None


@app.command(
    **examples(
        "eskit tail",
        "eskit tail --from first --no-follow --json",
        "eskit tail --since 5m --type MoneyDeposited --type MoneyWithdrawn",
        "eskit tail --stream Account-acc-001 --from -3",
    )
)
def tail(
    context: typer.Context,
    source: Annotated[
        Source, typer.Option(help="Without it NATS where a server runs, else the store.")
    ] = Source.AUTO,
    start: Annotated[
        str, typer.Option("--from", metavar="first|new|-N", help="Begin here; -N: the last N.")
    ] = "-10",
    after: Annotated[
        int | None, typer.Option(metavar="POSITION", min=0, help="Begin after this position.")
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="AGE", help="Begin with events this old: 30s, 5m, 2h, 1d.")
    ] = "",
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="End where the log ends now.")
    ] = False,
    types: Annotated[
        list[str] | None, typer.Option("--type", metavar="T", help="Only of this event type.")
    ] = None,
    stream: Annotated[str, typer.Option(metavar="S", help="Only of this stream.")] = "",
    aggregates: Annotated[
        list[str] | None, typer.Option("--aggregate", metavar="A", help="Only of this aggregate.")
    ] = None,
) -> None:
    """Show events as they happen, until Ctrl-C.

    With --json one event object per line.
    """
    from eskit.messaging.tail import TailRequest

    session = session_of(context)
    session.output.streaming = True
    request = TailRequest(
        start=parse_start(start),
        after=after,
        since=datetime.now(UTC) - parse_duration(since) if since else None,
        follow=not no_follow,
        event_types=types or [],
        stream=stream,
        aggregates=aggregates or [],
    )
    seen = Seen()
    try:
        asyncio.run(_show_all(session, request, source, seen))
    except KeyboardInterrupt:
        interrupted = True
    else:
        interrupted = False
    if (interrupted or not seen.events) and not session.output.as_json:
        session.output.note(format_end(seen))


def parse_start(text: str) -> Literal["first", "new"] | int:
    """Where to begin: ``first``, ``new``, or how many of the last events."""
    if text == "first":
        return "first"
    if text == "new":
        return "new"
    if text.startswith("-") and text[1:].isascii() and text[1:].isdigit():
        return int(text[1:])
    raise InvalidArgument(f"--from {text!r} is not possible", hint="Use first, new or -10")


async def _show_all(session: Session, request: TailRequest, source: Source, seen: Seen) -> None:
    async with _follow(session, request, source) as (events, payload_of):
        async for event in events:
            payload = payload_of(event)
            if session.output.as_json:
                session.output.record(event_object(event, payload), ())
            else:
                session.output.show([format_row(event, payload, seen.at)], cut=True)
            seen.events += 1
            seen.position, seen.at = event.global_position, event.recorded_at


@asynccontextmanager
async def _follow(
    session: Session, request: TailRequest, source: Source
) -> AsyncIterator[tuple[AsyncIterator[RecordedEvent], PayloadReader]]:
    """The events from the source that was asked for, or the best there is, and their reader."""
    if source is Source.STORE or (source is Source.AUTO and session.find_nats() is None):
        from eskit.messaging.tail import tail_store

        with session.open_store() as store:
            yield tail_store(store, request), payload_reader(session, store)
        return
    from eskit.credentials.nats import connected
    from eskit.messaging.tail_nats import tail_nats

    stream, prefix = session.nats_names()
    async with connected(session.nats_url(), name="eskit tail") as connection:
        events = tail_nats(connection, request, stream=stream, prefix=prefix)
        yield events, PayloadReader(generated_types(session))


def format_row(event: RecordedEvent, payload: Payload, previous: datetime | None) -> Line:
    """One event on one line: when, where in the log, whose, what, and its fields."""
    line: list[Span] = [
        (format_clock(event.recorded_at, previous), "dim"),
        f"  {event.global_position:>7,}  ",
        (f"{event.stream:<16}", "name"),
        "  ",
        (f"{short_type(event.event_type):<16}", "key"),
    ]
    if payload.problem is not None:
        return [*line, "  ", (f"{len(event.data):,} bytes, not decoded", "warning")]
    known = f'"{id_of(event.stream)}"'
    for name, value in leaves(payload.data or {}, payload.descriptor):
        if value == known:
            continue  # it stands in the stream's name
        line += ["  ", (name, "dim"), f" {value}"]
    return line


def format_clock(moment: datetime, previous: datetime | None) -> str:
    """The time of day here, or within a minute how long after its predecessor."""
    if previous is not None and timedelta() <= moment - previous < timedelta(minutes=1):
        return f"{f'+{(moment - previous).total_seconds():.3f}':>12}"
    return moment.astimezone().strftime("%H:%M:%S.%f")[:12]


def format_end(seen: Seen) -> Line:
    """What was seen, and how to go on from there."""
    if not seen.events:
        return "no events"
    return [
        f"{count(seen.events, 'event')} · last {seen.position:,} · go on with: ",
        (f"eskit tail --after {seen.position}", "command"),
    ]
