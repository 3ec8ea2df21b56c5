"""``eskit relay``: publish the log to NATS."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.fitting import labelled
from eskit.cli.hosting import Health, run_services
from eskit.cli.session import Session, session_of
from eskit.cli.text import Line, count

if TYPE_CHECKING:
    from eskit.cli.output import Output
    from eskit.credentials.nats import Connection
    from eskit.messaging.relay import Relay, RelayReport, RelayStatus
    from eskit.store.eventstore import EventStore

app = make_app()

_CLIENT = "eskit relay"
_WORTH_TELLING = {"standby": "standing by", "idle": "up to date", "away": "waiting for NATS"}


@app.command(
    **examples(
        "eskit relay --once",
        "eskit relay --health 8080",
        "eskit relay --status",
        "eskit relay --republish",
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
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before emptying.")] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only say whether a relay runs, and how far it is.")
    ] = False,
    health: Health = None,
) -> None:
    """Publish stored events to JetStream, in order and each once, until Ctrl-C.

    A second one for the same store stands by until the first ends. With --republish the embedded
    NATS server is started for as long, if none runs.
    """
    from eskit.cli.nats import running_server

    session = session_of(context)
    if status:
        _show_standing(session)
        return
    if republish and not yes:
        session.output.confirm(
            f"Empty the JetStream stream {session.project.nats_stream}, whichever store's log it "
            "holds, and publish this one?"
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
        {
            "published": report.published,
            "position": report.position,
            "replaced": report.replaced or None,
        },
        [
            f"Published {count(report.published, 'event')}, up to position {report.position:,}",
            *([f"in place of the log of {report.replaced}"] if report.replaced else []),
        ],
    )


async def _publish(session: Session, store: EventStore, *, republish: bool) -> RelayReport:
    """Publish what there is."""
    async with session.connect_nats(_CLIENT) as connection:
        relay = _make_relay(session, store, connection)
        return await (relay.republish() if republish else relay.run_once())


async def _follow(session: Session, store: EventStore, health: str | None) -> RelayReport:
    """Publish until a signal comes."""
    from eskit.messaging.relay import RelayReport
    from eskit.runtime.assembly import Broker
    from eskit.runtime.service import Loop

    broker = Broker(session.nats_url, login=session.nats_login, client=_CLIENT)
    report = RelayReport(published=0, position=0)

    async def run(stop: asyncio.Event) -> None:
        nonlocal report
        report = await _make_relay(session, store, broker.connection).run(stop)

    await run_services([broker, Loop("relay", run)], health=health, tell=session.output.note)
    return report


def _make_relay(session: Session, store: EventStore, connection: Connection) -> Relay:
    from eskit.messaging.nats import nats_relay

    logging.getLogger("eskit.relay").addHandler(logging.NullHandler())  # the narrator tells it
    return nats_relay(
        store,
        connection,
        app_name=session.load_app().name,
        settings=session.stream_settings(),
        on_status=Narrator(session.output),
    )


def _show_standing(session: Session) -> None:
    """What the store knows about its relay."""
    from eskit.messaging.lease import lease_of
    from eskit.store.records import RELAY_CHECKPOINT

    with session.open_store() as store:
        holder = lease_of(store).find_holder()
        checkpoint = store.load_checkpoint(RELAY_CHECKPOINT)
        position, head = checkpoint.position if checkpoint else 0, store.head_position()
        other = checkpoint is not None and checkpoint.store_id != store.store_id
    state = "stopped" if holder is None else "running"
    lines: list[Line] = [f"{state}{f' in process {holder}' if holder else ''}"]
    if other:
        lines += [
            f"position {position:,} of another store's log",
            f"Publish this one, up to {head:,}, in its place: eskit relay --republish",
        ]
    else:
        lines.append(f"position {position:,} of {head:,}")
    session.output.result(
        {"state": state, "pid": holder, "position": position, "head": head, "other_store": other},
        lines,
    )


class Narrator:
    """Tells when a relay stands by, is up to date, or waits for NATS; not of each event."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._told = ""

    def __call__(self, status: RelayStatus) -> None:
        """Tell of a state unless it was the last that was told of."""
        if status.state not in _WORTH_TELLING or status.state == self._told:
            return
        self._told = status.state
        error = f"  {status.error}" if status.error else ""
        told = labelled(_WORTH_TELLING[status.state], f"position {status.position:,}{error}")
        self._output.note(*told)
