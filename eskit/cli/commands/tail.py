"""``eskit tail``: follow events, from NATS or straight from the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from eskit.cli.commands.conditions import Condition, parse_condition
from eskit.cli.commands.stream import generated_types
from eskit.cli.commands.tail_lines import Layout, Seen, format_end
from eskit.cli.engines import Source
from eskit.cli.groups import examples, make_app
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.pipe import while_read
from eskit.cli.terminal.printing import end_line_of_ctrl_c
from eskit.cli.terminal.times import ClockOption, TimeStyle, parse_moment
from eskit.cli.terminal.wrapping import labelled
from eskit.errors import (
    BrokerUnavailable,
    EskitError,
    InvalidArgument,
    RequestTimeout,
)
from eskit.reports.payloads import Decoder, Payload, PayloadReader, descriptor_set, stored_schemas

if TYPE_CHECKING:
    from eskit.domain.events import RecordedEvent
    from eskit.domain.subjects import StreamNames
    from eskit.messaging.tail import TailRequest
    from eskit.nats.connection import Connection
    from eskit.store.eventstore import EventStore

app = make_app()

_TRY_EVERY = 0.5


@app.command(
    **examples(
        "eskit tail",
        "eskit tail --from first --no-follow --json",
        "eskit tail --since 5m --type MoneyDeposited --type MoneyWithdrawn",
        "eskit tail --from first --where 'amount>100' --fields amount,new_balance",
        "eskit tail --stream Account-acc-001 --from -3 --expanded",
        streaming=True,
    )
)
def tail(
    context: typer.Context,
    source: Annotated[
        Source, typer.Option(help="By default NATS if a server runs, else the store.")
    ] = Source.AUTO,
    start: Annotated[
        str, typer.Option("--from", metavar="first|new|-N", help="Where to start; -N: the last N.")
    ] = "-10",
    after: Annotated[
        int | None, typer.Option(metavar="POSITION", min=0, help="Begin after this position.")
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Begin at a time or an age: 30s, 5m, 2h, 1d.")
    ] = "",
    until: Annotated[
        str, typer.Option(metavar="TIME", help="End with the events up to a time or an age.")
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
    tenants: Annotated[
        list[str] | None, typer.Option("--tenant", metavar="NAME", help="Only of this tenant.")
    ] = None,
    correlation: Annotated[
        str, typer.Option(metavar="ID", help="Only what belongs to this correlation.")
    ] = "",
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help="Only if a field fits: 'amount>100'; ~: contains."),
    ] = None,
    fields: Annotated[
        str, typer.Option(metavar="A,B.C", help="Show only these fields of the payload.")
    ] = "",
    expanded: Annotated[
        bool, typer.Option("--expanded", help="Show each event with its metadata, field by field.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Show payloads as they are, in base64.")
    ] = False,
    clock: ClockOption = TimeStyle.DELTA,
    descriptors: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Decode with a descriptor set of protoc."),
    ] = None,
) -> None:
    """Show events as they happen, until Ctrl-C.

    Times are local, as is a TIME without an offset, and have a date unless it is today's.
    With --json one event object per line.
    """
    from eskit.messaging.tail import TailRequest

    session = session_of(context)
    conditions = [parse_condition(text) for text in where or ()]
    layout = Layout(clock=clock, fields=split_fields(fields), expanded=expanded, raw=raw)
    request = TailRequest(
        start=parse_start(start),
        after=after,
        since=parse_moment(since) if since else None,
        until=parse_moment(until) if until else None,
        follow=not no_follow,
        event_types=types or [],
        stream=stream,
        aggregates=aggregates or [],
        tenants=tenants or [],
        correlation_id=correlation,
    )
    follower = Follower(session, source, request, conditions, descriptors)
    seen = Seen()
    try:
        asyncio.run(while_read(_show_all(follower, layout, seen)))
    except KeyboardInterrupt:
        end_line_of_ctrl_c()
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


def split_fields(text: str) -> list[str]:
    """The field paths in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


async def _show_all(follower: Follower, layout: Layout, seen: Seen) -> None:
    output = follower.session.output
    async with follower.follow() as (batches, payload_of):
        async for batch in batches:
            for event in batch:
                payload = Payload(data=None) if layout.raw else payload_of(event)
                if output.as_json:
                    output.record(layout.record(event, payload), (), flush=False)
                else:
                    output.show(layout.lines(event, payload, seen.at), cut=not layout.expanded)
                seen.add(event)
            output.flush()


@dataclass(frozen=True, slots=True)
class Follower:
    """Where events come from, and with what they are decoded."""

    session: Session
    source: Source
    request: TailRequest
    conditions: Sequence[Condition] = ()
    descriptors: Path | None = None

    @asynccontextmanager
    async def follow(
        self,
    ) -> AsyncIterator[tuple[AsyncIterator[Sequence[RecordedEvent]], PayloadReader]]:
        """The events from the source that was asked for, or the best there is, and their reader."""
        if self._from_store():
            from eskit.messaging.tail import tail_store_batches

            with self.session.open_store() as store:
                self._hint(store)
                reader = PayloadReader(
                    *self._own_schemas(), stored_schemas(store), generated_types(self.session)
                )
                yield tail_store_batches(store, self._request(reader)), reader
            return
        from eskit.messaging.tail_nats import tail_nats_batches

        with ExitStack() as stack:
            reader = PayloadReader(
                *self._own_schemas(),
                generated_types(self.session),
                *self._schemas_at_hand(stack),
            )
            async with AsyncExitStack() as connecting:
                connection, (stream, prefix) = await self._connect(connecting)
                batches = tail_nats_batches(
                    connection,
                    self._request(reader),
                    stream=stream,
                    prefix=prefix,
                    on_wait=self._tell_wait,
                )
                yield batches, reader

    async def _connect(self, stack: AsyncExitStack) -> tuple[Connection, StreamNames]:
        """A connection to NATS, and the names that hold there; who follows waits for it."""
        waits = False
        while True:
            try:
                connection = await stack.enter_async_context(
                    self.session.connect_nats("eskit tail")
                )
                names = await self.session.settle_names(connection)
            except (BrokerUnavailable, RequestTimeout) as error:
                if not self.request.follow or error.code == "BROKER_REFUSED":
                    raise
                if not waits:
                    self._tell_wait(error)
                waits = True
                await asyncio.sleep(_TRY_EVERY)
            else:
                if waits:
                    self._tell_wait(None)
                return connection, names

    def _tell_wait(self, error: EskitError | None) -> None:
        """Report once what the tail waits for, and that it has resumed."""
        if error is None:
            self.session.output.note("NATS is available again: resuming")
        else:
            self.session.output.note(*labelled("waiting for NATS", error.message))
            if error.hint:
                self.session.output.note([(error.hint, "hint")])

    def _from_store(self) -> bool:
        automatic = self.source is Source.AUTO and self.session.find_nats() is None
        return automatic or self.source is Source.STORE

    def _request(self, reader: PayloadReader) -> TailRequest:
        """The request with the conditions, which need the decoded payload."""
        if not self.conditions:
            return self.request

        def holds(event: RecordedEvent) -> bool:
            data, shape, _ = reader(event)
            return data is not None and all(one.holds(data, shape) for one in self.conditions)

        return replace(self.request, where=holds)

    def _own_schemas(self) -> list[Decoder]:
        return [descriptor_set(self.session.path(self.descriptors))] if self.descriptors else []

    def _schemas_at_hand(self, stack: ExitStack) -> list[Decoder]:
        """The schemas in the project's store, if it has one on this machine."""
        try:
            store = stack.enter_context(self.session.open_store())
            self._hint(store)
        except EskitError:
            return []  # a terminal far from the store: it has the generated code, or nothing
        return [stored_schemas(store)]

    def _hint(self, store: EventStore) -> None:
        from eskit.cli.commands.tail_hints import hints

        self.session.output.note(*hints(store, self.request))
