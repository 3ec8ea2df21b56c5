"""``eskit serve``: NATS, services, relay and projections in one process."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands.nats import embedded_server
from eskit.cli.commands.project_run import shown_watch
from eskit.cli.commands.serve_grpc import (
    Grpc,
    Insecure,
    TlsCertificate,
    TlsClients,
    TlsKey,
    check_exposure,
    grpc_place,
)
from eskit.cli.commands.tail_lines import Layout, Seen
from eskit.cli.groups import examples, make_app
from eskit.cli.service_runner import LABEL, Health, run_services
from eskit.cli.session import EMBEDDED, Session, session_of
from eskit.cli.terminal.output import LogToStderr
from eskit.cli.terminal.text import Line, Span
from eskit.cli.terminal.times import TimeStyle
from eskit.cli.terminal.wrapping import labelled
from eskit.processes.holding import Holder
from eskit.reports.payloads import GeneratedTypes, PayloadReader, stored_schemas

if TYPE_CHECKING:
    from eskit.app import RunningApp
    from eskit.messaging.relay import RelayStatus
    from eskit.runtime.host import Host, NatsOfProject, Parts
    from eskit.runtime.postgres import OwnPostgres
    from eskit.runtime.runner import RunnerEvent

app = make_app()

_QUIET = {"starting", "stopping"}
_AFTER_A_CHANGE = "See why: eskit project status {name}. Correct it, then restart this process."
_WIDEST = 32
"""A longer name of a part pushes what follows it."""


@app.command(
    **examples(
        "eskit serve",
        "eskit serve --no-relay --no-projections",
        "eskit serve --grpc 50051",
        streaming=True,
    )
)
def serve(
    context: typer.Context,
    services: Annotated[
        bool, typer.Option("--services/--no-services", help="Answer commands and queries.")
    ] = True,
    relay: Annotated[
        bool, typer.Option("--relay/--no-relay", help="Publish the log to JetStream.")
    ] = True,
    projections: Annotated[
        bool, typer.Option("--projections/--no-projections", help="Keep read models up to date.")
    ] = True,
    reactions: Annotated[
        bool, typer.Option("--reactions/--no-reactions", help="Send commands on events.")
    ] = True,
    grpc: Grpc = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    tls_clients: TlsClients = None,
    insecure: Insecure = False,
    health: Health = None,
) -> None:
    """Run services, relay, projections and reactions until Ctrl-C.

    Starts the embedded NATS server first if the project uses it and none runs.
    """
    from eskit.runtime.host import Parts

    parts = Parts(
        services=services,
        grpc=grpc_place(grpc, tls_certificate, tls_key, tls_clients),
        relay=relay,
        projections=projections,
        reactions=reactions,
    )
    run_app(session_of(context), Chosen(parts=parts, insecure=insecure, health=health))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which parts run, and the server that the store is in, if it is the project's own.

    `insecure` opens gRPC to everybody. With `show` also events and calls are shown as they come.
    """

    parts: Parts
    insecure: bool = False
    postgres: OwnPostgres | None = None
    health: str | None = None
    show: bool = False


def run_app(session: Session, chosen: Chosen) -> None:
    """Run the project's app until a signal comes; raises what a projection failed with."""
    from eskit.runtime.host import Host, ShownCalls

    logging.getLogger("eskit").addHandler(LogToStderr())
    with session.open_app() as running:
        check_exposure(chosen.parts.grpc, running.app, insecure=chosen.insecure)
        screen = Screen(session, running)
        show_call = functools.partial(screen.tell, "call")
        host = Host(
            running,
            _nats_of(session, running.store.store_id),
            parts=chosen.parts,
            postgres=chosen.postgres,
            watch=screen.watch,
            on_connection=lambda text: screen.tell("connection", text),
            on_relay=screen.show_relay,
            answer=ShownCalls(running, show_call) if chosen.show else None,
        )
        asyncio.run(screen.run(host, chosen))
    if host.failures:
        raise host.failures[0]


def _nats_of(session: Session, store_id: str) -> NatsOfProject:
    from eskit.runtime.host import NatsOfProject

    project = session.project
    return NatsOfProject(
        url=session.nats_url,
        login=session.nats_login,
        settings=session.stream_settings,
        prefix=project.nats_prefix,
        find_place=functools.partial(session.find_place, store_id=store_id),
        server=(lambda: embedded_server(session)) if project.nats == EMBEDDED else None,
        announce_in=project.root,
    )


class Screen:
    """Shows what happens to the parts of a host, each line with the part that it is about."""

    def __init__(self, session: Session, running: RunningApp) -> None:
        self._session, self._running = session, running
        self._last = ""
        self._label = LABEL
        self._relay_shown = ("", "")
        self._waiting: dict[str, bool] = {}
        self.watch = shown_watch(
            running.engine,
            session.output,
            tell=lambda text: self.tell("projections", text),
            hint=_AFTER_A_CHANGE,
        )

    async def run(self, host: Host, chosen: Chosen) -> None:
        """Run a host until a signal comes."""
        from eskit.cqrs.services import HANDLER_HINT, no_handler
        from eskit.runtime.service import Loop

        if chosen.parts.services:
            for service in self._running.app.unanswered:
                self._session.output.warn(no_handler(service), hint=HANDLER_HINT)
        parts = [*host.services, *([Loop("events", self._show_events)] if chosen.show else [])]
        if not parts:
            raise typer.BadParameter("All parts are disabled")
        self._last = parts[-1].name
        self._label = max(LABEL, *(min(len(part.name), _WIDEST) for part in parts))
        await run_services(
            parts,
            health=chosen.health,
            tell=lambda url: self.tell("health", url),
            on_event=lambda event: self._show(event, host),
            keep_going=True,
        )

    def _show(self, event: RunnerEvent, host: Host) -> None:
        ready = event.state == "ready"
        # A relay runs as soon as it is started, and says itself that it waits for NATS.
        waits = event.state == "waiting" or (
            ready and event.service == "relay" and not host.is_connected
        )
        detail = host.describe(event.service) if ready else event.error
        quiet = event.state in _QUIET or (ready and waits)
        self._session.output.record(
            {"service": event.service, "state": event.state, "detail": detail},
            [] if quiet else self._status(event.service, event.state, detail),
        )
        self._hint(event.hint)
        if not (ready or waits):
            return
        self._waiting[event.service] = waits
        if event.service == self._last:
            waiting = ", ".join(name for name, is_so in self._waiting.items() if is_so)
            without = f" without {waiting}" if waiting else ""
            self.tell("eskit", f"up{without}; stop with Ctrl-C")
            self._last = ""

    async def _show_events(self, stop: asyncio.Event) -> None:
        """Show each event as it is appended, whoever appends it."""
        from eskit.messaging.tail import TailRequest, tail_store

        reader = PayloadReader(stored_schemas(self._running.store), GeneratedTypes(lambda: None))
        prefix: list[Span] = [(f"{'event':<{self._label}}", "name"), "  "]
        layout, seen = Layout(clock=TimeStyle.TIME, prefix=prefix), Seen()
        request = TailRequest(start="new")
        async with aclosing(tail_store(self._running.store, request)) as events:
            asked = asyncio.ensure_future(stop.wait())
            while not stop.is_set():
                coming = asyncio.ensure_future(anext(events))
                await asyncio.wait({asked, coming}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    await asyncio.wait({coming})
                    break
                event = coming.result()
                self._session.output.show(layout.lines(event, reader(event), seen.at), cut=True)
                seen.add(event)
            asked.cancel()

    def show_relay(self, status: RelayStatus) -> None:
        """Report once what blocks the relay, and when it resumes."""
        if status.state == "connecting":  # its position is not known yet
            return
        before, self._relay_shown = self._relay_shown, (status.state, status.error)
        if status.state == "away":
            if before[0] != "away":
                self.tell("relay", f"waiting for {status.waits_for}: {status.error}")
        elif status.state == "blocked" and status.problem is not None:
            self.tell("relay", f"blocked: {status.error}")
            self._hint(status.problem.hint)
        elif status.state == "standby":
            holder = status.holder or Holder(pid=0)
            self.tell("relay", f"standing by: {holder.text} relays this store")
        elif status.state != "stopped" and before[0] in {"away", "blocked", "standby"}:
            self.tell("relay", f"resumed at position {status.position:,}")

    def _hint(self, text: str) -> None:
        """Say what to do, below the last line."""
        if text:
            self._session.output.note(*labelled(" " * self._label, (text, "hint")))

    def tell(self, name: str, text: str) -> None:
        """Show a line about a part."""
        if not self._session.output.as_json:
            self._session.output.show(self._status(name, text))

    def _status(self, name: str, state: str, error: str = "") -> Iterator[Line]:
        because = f"  {error}" if error else ""
        yield from labelled((f"{name:<{self._label}}", "name"), state, because)
