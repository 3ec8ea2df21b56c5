"""``eskit relay``: publish the log to NATS."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.groups import examples, make_app
from eskit.cli.options import By, operator
from eskit.cli.service_runner import Health, run_services
from eskit.cli.session import Session, session_of
from eskit.cli.terminal.errors import FAILED, format_error
from eskit.cli.terminal.output import LogToStderr
from eskit.cli.terminal.text import Line
from eskit.cli.terminal.wrapping import labelled
from eskit.errors import InvalidArgument, NotFound
from eskit.reports.relay import (
    RelayOverview,
    load_relay,
    published_object,
    relay_object,
    skip_object,
)
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.cli.terminal.output import Output
    from eskit.domain.events import RecordedEvent
    from eskit.messaging.relay import Relay, RelayReport, RelayStatus
    from eskit.messaging.stream_settings import StreamSettings
    from eskit.nats.connection import Connection
    from eskit.store.eventstore import EventStore

app = make_app()

_CLIENT = "eskit relay"
_WRONG = {"away", "blocked"}


@app.command(
    **examples(
        "eskit relay --once",
        "eskit relay --health 8080",
        "eskit relay --status",
        "eskit relay --republish",
        "eskit relay --skip 4711 --reason 'a video, not an event' --yes",
    )
)
def relay(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End where the log ends now.")] = False,
    republish: Annotated[
        bool,
        typer.Option(
            "--republish",
            help="Empty the stream, also of another store's log, and publish the whole log.",
        ),
    ] = False,
    skip: Annotated[
        int | None,
        typer.Option(
            metavar="POSITION",
            min=1,
            help="Publish the log without the event at this position, which cannot be published.",
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why it is skipped; kept as the audit record.")
    ] = "",
    by: By = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before emptying or skipping.")
    ] = False,
    status: Annotated[
        bool,
        typer.Option(
            "--status",
            help="Only show the relay's state, position and skipped events. "
            "Exit code 1: an obstacle, or events wait and no relay runs.",
        ),
    ] = False,
    health: Health = None,
) -> None:
    """Publish stored events to JetStream, in order and each once, until Ctrl-C.

    A second relay of the same store stands by until the first ends. --republish starts the embedded
    NATS server meanwhile, if none runs.
    """
    from eskit.cli.commands.nats import running_server

    session = session_of(context)
    _check_choice(once=once, republish=republish, status=status, skip=skip, reason=reason)
    if status:
        _show_status(session)
        return
    if skip is not None:
        _skip(session, skip, reason=reason, by=operator(by), yes=yes)
        return
    if republish and not yes:
        session.output.confirm(
            "Empty the app's JetStream stream, whichever store's log it holds, and publish this "
            "one?"
        )
    with session.open_store() as store:
        if republish:
            with running_server(session):
                report = asyncio.run(_publish(session, store, republish=True))
        elif once:
            report = asyncio.run(_publish(session, store, republish=False))
        else:
            report = asyncio.run(_follow(session, store, health))
    session.output.result(
        published_object(report),
        [
            f"Published {count(report.published, 'event')}, up to position {report.position:,}",
            *([f"without {count(report.skipped, 'event')}, by decision"] if report.skipped else []),
            *([f"in place of the log of {report.replaced}"] if report.replaced else []),
        ],
    )


async def _publish(session: Session, store: EventStore, *, republish: bool) -> RelayReport:
    """Publish what there is."""
    async with session.connect_nats(_CLIENT) as connection:
        settings = await session.stream_settings(connection)
        relay = _make_relay(session, store, connection, settings)
        return await (relay.republish() if republish else relay.run_once())


async def _follow(session: Session, store: EventStore, health: str | None) -> RelayReport:
    """Publish until a signal comes; raises what was in the way in the end."""
    from eskit.runtime.assembly import Broker, RelayOverNats

    _tell_of_events()
    broker = Broker(session.nats_url, login=session.nats_login, client=_CLIENT)
    relay = RelayOverNats(
        store,
        broker,
        app_name=session.load_app().name,
        settings=session.stream_settings,
        on_status=Narrator(session.output),
    )
    await run_services([broker, relay], health=health, tell=session.output.note, keep_going=True)
    if relay.problem is not None:
        raise relay.problem
    return relay.report


def _make_relay(
    session: Session, store: EventStore, connection: Connection, settings: StreamSettings
) -> Relay:
    from eskit.messaging.publisher_nats import nats_relay

    _tell_of_events()
    return nats_relay(
        store,
        connection,
        app_name=session.load_app().name,
        settings=settings,
        on_status=Narrator(session.output),
    )


def _tell_of_events() -> None:
    """Let the relay name events that are out of the ordinary; of the rest the narrator tells."""
    logging.getLogger("eskit.relay").addHandler(LogToStderr())


def _check_choice(
    *, once: bool, republish: bool, status: bool, skip: int | None, reason: str
) -> None:
    chosen = {"--once": once, "--republish": republish, "--status": status, "--skip": skip}
    given = [name for name, value in chosen.items() if value]
    if len(given) > 1:
        raise typer.BadParameter(f"Choose one of {' and '.join(given)}")
    if skip is not None and not reason.strip():
        raise typer.BadParameter("Say why: --reason TEXT", param_hint="--skip")
    if reason and skip is None:
        raise typer.BadParameter("It goes with --skip POSITION", param_hint="--reason")


def _skip(session: Session, position: int, *, reason: str, by: str, yes: bool) -> None:
    """Decide that the relay skips an event."""
    from eskit.messaging.skips import find_relay_skip, skip_in_relay

    with session.open_store() as store:
        event = store.find_event(position)
        if event is None:
            raise NotFound(
                f"The log has no event at position {position:,}",
                hint="Where the relay stands: eskit relay --status",
            )
        decided = find_relay_skip(store, event)
        error = decided.error if decided else asyncio.run(_find_obstacle(session, store, event))
        if not error:
            raise InvalidArgument(
                f"The event at position {position:,} can be published: nothing has to be skipped",
                hint="Where the relay stands: eskit relay --status",
            )
        what = f"{position:,} {event.event_type} of {event.stream}"
        if not yes and decided is None:
            session.output.confirm(f"Publish the log without {what}?")
        skip = skip_in_relay(store, event, error=error, reason=reason, by=by)
    session.output.result(skip_object(skip), [f"The relay will skip {what}"])


async def _find_obstacle(session: Session, store: EventStore, event: RecordedEvent) -> str:
    """Why an event cannot be published where the relay publishes to; empty if it can."""
    from eskit.messaging.publisher_nats import JetStreamPublisher
    from eskit.nats.headers import source_of

    source = source_of(session.load_app().name, store.store_id)
    async with session.connect_nats(_CLIENT) as connection:
        settings = await session.stream_settings(connection)
        publisher = JetStreamPublisher(connection, settings, source=source)
        await publisher.look()
        return publisher.find_obstacle(event)


def _show_status(session: Session) -> None:
    """What the store knows about its relay: what it did, not what it was meant to do."""
    with session.open_store() as store:
        found = load_relay(store)
    session.output.result(relay_object(found), format_overview(found))
    if not found.is_well:
        raise typer.Exit(FAILED)


_STATES = {"away": "waiting for NATS", "blocked": "blocked"}


def format_overview(relay: RelayOverview) -> Iterator[Line]:
    """The relay's state, what is in its way, how far it is, and which events it skips."""
    of = f" in {relay.holder.text}" if relay.holder else ""
    yield f"{_STATES.get(relay.state, relay.state)}{of}"
    if relay.error:
        yield from labelled(("error", "error"), relay.error)
        if relay.hint:
            yield from labelled(" " * len("error"), (relay.hint, "hint"))
    if relay.other_store:
        yield f"position {relay.position:,} of another store's log"
        if not relay.hint:
            yield f"Publish this one, up to {relay.head:,}, in its place: eskit relay --republish"
    else:
        yield f"position {relay.position:,} of {relay.head:,}"
    if relay.events_wait and not relay.error:
        yield [("Events wait, and no relay runs: eskit relay", "hint")]
    for skip in relay.skips:
        yield (
            f"skipped {skip.position:,} {skip.event_type} of {skip.stream}: {skip.reason} "
            f"({skip.decided_by}); {skip.error}"
        )


class Narrator:
    """Reports once when a relay stands by, is up to date, waits for NATS or is blocked."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._shown = ("", "")

    def __call__(self, status: RelayStatus) -> None:
        """Report a state unless it was the last one reported."""
        now = (status.state, status.error if status.state == "blocked" else "")
        if now == self._shown or status.state not in {"standby", "idle", *_WRONG}:
            return
        self._shown = now
        self._output.note(*format_relay(status))


def format_relay(status: RelayStatus) -> Iterator[Line]:
    """What a relay does, and what is in its way."""
    if status.state == "standby":
        of = f" ({status.holder.text})" if status.holder and status.holder.pid else ""
        yield f"standing by  another relay of this store is active{of}"
    elif status.problem is None:
        yield f"up to date  position {status.position:,}"
    elif status.state == "away":
        waiting = f"waiting for {status.waits_for}"
        yield from labelled(waiting, f"position {status.position:,}  {status.error}")
    else:
        yield from format_error(status.problem)
