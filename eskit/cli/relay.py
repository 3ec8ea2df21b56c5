"""``eskit relay``: publish the log to NATS."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.session import Session, session_of
from eskit.cli.text import count

if TYPE_CHECKING:
    from eskit.messaging.relay import RelayReport, RelayStatus

app = make_app()


@app.command(
    **examples(
        "eskit relay --once", "eskit relay", "eskit relay --status", "eskit relay --republish"
    )
)
def relay(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End where the log ends now.")] = False,
    republish: Annotated[
        bool, typer.Option("--republish", help="Empty the stream and publish the whole log.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before emptying.")] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only say whether a relay runs, and how far it is.")
    ] = False,
) -> None:
    """Publish stored events to JetStream, in order and each once, until Ctrl-C.

    A second one for the same store stands by until the first ends.
    """
    session = session_of(context)
    if status:
        _show_standing(session)
        return
    if republish and not yes:
        session.output.confirm(
            f"Empty the JetStream stream {session.project.nats_stream} and publish the log again?"
        )
    report = asyncio.run(_relay(session, once=once, republish=republish))
    session.output.result(
        {"published": report.published, "position": report.position},
        [f"Published {count(report.published, 'event')}, up to position {report.position:,}"],
    )


async def _relay(session: Session, *, once: bool, republish: bool) -> RelayReport:
    from eskit.messaging.nats import nats_relay

    with session.open_store() as store:
        async with session.connect_nats("eskit relay") as connection:
            worker = nats_relay(
                store,
                connection,
                app_name=session.load_app().name,
                settings=session.stream_settings(),
                on_status=lambda status: _show_status(session, status),
            )
            if republish:
                return await worker.republish()
            if once:
                return await worker.run_once()
            return await worker.run(stop_event())


def stop_event() -> asyncio.Event:
    """An event that Ctrl-C and SIGTERM set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _show_standing(session: Session) -> None:
    """What the store knows about its relay."""
    from eskit.messaging.lease import lease_of
    from eskit.messaging.relay import CHECKPOINT

    with session.open_store() as store:
        holder = lease_of(store).find_holder()
        checkpoint = store.load_checkpoint(CHECKPOINT)
        position, head = checkpoint.position if checkpoint else 0, store.head_position()
    state = "stopped" if holder is None else "running"
    session.output.result(
        {"state": state, "pid": holder, "position": position, "head": head},
        [
            f"{state}{f' in process {holder}' if holder else ''}",
            f"position {position:,} of {head:,}",
        ],
    )


def _show_status(session: Session, status: RelayStatus) -> None:
    if status.state in {"away", "idle", "standby"}:
        session.output.note(
            f"{status.state}  position {status.position:,}"
            + (f"  {status.error}" if status.error else "")
        )
