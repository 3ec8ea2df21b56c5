"""``eskit serve``: NATS, services, relay and projections in one process."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands.nats import embedded_server
from eskit.cli.commands.project_run import ProjectionWatch
from eskit.cli.commands.tail_lines import Layout, Seen
from eskit.cli.groups import examples, make_app
from eskit.cli.service_runner import LABEL, Health, run_services
from eskit.cli.session import EMBEDDED, Session, session_of
from eskit.cli.terminal.output import LogToStderr
from eskit.cli.terminal.text import Line, Span
from eskit.cli.terminal.times import Clock
from eskit.cli.terminal.wrapping import labelled
from eskit.errors import EskitError
from eskit.reports.payloads import GeneratedTypes, PayloadReader, stored_schemas

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from eskit.app import RunningApp
    from eskit.cqrs.options import CallOptions, Reply
    from eskit.domain.services import Method
    from eskit.messaging.relay import RelayStatus
    from eskit.runtime.assembly import Broker, ReactionService, RelayOverNats
    from eskit.runtime.runner import RunnerEvent
    from eskit.runtime.service import Service

app = make_app()

_QUIET = {"starting", "stopping"}
_BEGIN_AGAIN_AFTER = 1.0
_AFTER_A_CHANGE = "See why: eskit project status {name}. Correct it, then restart this process."
_WIDEST = 32
"""A longer name of a part pushes what follows it."""


@app.command(**examples("eskit serve", "eskit serve --no-relay --no-projections", streaming=True))
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
    health: Health = None,
) -> None:
    """Run services, relay, projections and reactions until Ctrl-C.

    Starts the embedded NATS server first if the project uses it and none runs.
    """
    chosen = Chosen(
        services=services,
        relay=relay,
        projections=projections,
        reactions=reactions,
        health=health,
    )
    run_app(session_of(context), chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which parts run; with `show` also events and calls are shown as they come."""

    services: bool = True
    relay: bool = True
    projections: bool = True
    reactions: bool = True
    health: str | None = None
    show: bool = False


def run_app(session: Session, chosen: Chosen) -> None:
    """Run the project's app until a signal comes; raises what a projection failed with."""
    logging.getLogger("eskit").addHandler(LogToStderr())
    with session.open_app() as running:
        host = Host(session, running, chosen)
        asyncio.run(host.run())
    if host.failures:
        raise host.failures[0]


class Host:
    """Everything that runs in the process, around one app and one NATS connection."""

    def __init__(self, session: Session, running: RunningApp, chosen: Chosen) -> None:
        self.failures: list[EskitError] = []
        self._session = session
        self._running = running
        self._chosen = chosen
        self._last = ""
        self._label = LABEL
        self._projections = ProjectionWatch(
            running.engine,
            session.output,
            tell=lambda text: self._tell("projections", text),
            hint=_AFTER_A_CHANGE,
        )
        self._details: dict[str, Callable[[], str]] = {}
        self._relay: RelayOverNats | None = None
        self._relay_told = ("", "")
        self._broker: Broker | None = None
        self._waiting: dict[str, bool] = {}

    async def run(self) -> None:
        """Run the chosen parts until a signal comes."""
        from eskit.cqrs.methods import HANDLER_HINT, no_handler
        from eskit.messaging.takeover import needs_place
        from eskit.runtime.service import Loop, Worker

        chosen = self._chosen
        if chosen.services:
            for service in self._running.app.unanswered:
                self._session.output.warn(no_handler(service), hint=HANDLER_HINT)
        parts: list[Service] = []
        if chosen.projections and self._running.app.projections:
            watch = self._projections
            parts.append(
                Worker("projections", self._follow, check=watch.check, describe=watch.describe)
            )
        reactions = [*self._reactions()] if chosen.reactions else []
        places = any(needs_place(self._running.store, each.subscription) for each in reactions)
        if chosen.services or chosen.relay or places:
            parts = [*self._on_nats(parts)]
        parts += reactions
        if chosen.show:
            parts.append(Loop("events", self._show_events))
        if not parts:
            raise typer.BadParameter("All parts are disabled")
        self._last = parts[-1].name
        self._label = max(LABEL, *(min(len(part.name), _WIDEST) for part in parts))
        await run_services(
            parts,
            health=chosen.health,
            tell=lambda url: self._tell("health", url),
            on_event=self._show,
            keep_going=True,
        )
        if self._relay is not None and self._relay.problem is not None:
            self.failures.append(self._relay.problem)

    def _reactions(self) -> Iterator[ReactionService]:
        """The reactions, which follow the log in the store."""
        from eskit.runtime.assembly import ReactionService

        running = self._running
        for reaction in running.app.reactions:
            yield ReactionService(
                reaction,
                running,
                running.store,
                upcasters=running.app.upcasters,
                find_place=functools.partial(
                    self._session.find_place, store_id=running.store.store_id
                ),
            )

    def _on_nats(self, parts: list[Service]) -> Iterator[Service]:
        """The parts in their order: NATS and the connection first, what answers and sends last."""
        from eskit.runtime import assembly

        project, running = self._session.project, self._running
        settings = self._session.stream_settings
        if project.nats == EMBEDDED:
            server = assembly.EmbeddedServer(
                embedded_server(self._session), announce_in=project.root
            )
            self._details["nats"] = lambda: server.address
            yield server
        self._broker = broker = assembly.Broker(
            self._session.nats_url,
            login=self._session.nats_login,
            on_change=lambda text: self._tell("connection", text),
        )
        yield broker
        yield from parts
        if self._chosen.services:
            answering = assembly.ServicesOverNats(
                ShownCalls(running, self._tell) if self._chosen.show else running,
                broker,
                running.app.service_types,
                authenticate=running.app.authenticate,
                prefix=project.nats_prefix,
            )
            self._details["services"] = lambda: ", ".join(answering.service_names)
            yield answering
        if self._chosen.relay:
            self._relay = assembly.RelayOverNats(
                running.store,
                broker,
                app_name=running.app.name,
                settings=settings,
                on_status=self._show_relay,
            )
            yield self._relay

    async def _show_events(self, stop: asyncio.Event) -> None:
        """Show each event as it is appended, whoever appends it."""
        from eskit.messaging.tail import TailRequest, tail_store

        reader = PayloadReader(stored_schemas(self._running.store), GeneratedTypes(lambda: None))
        prefix: list[Span] = [(f"{'event':<{self._label}}", "name"), "  "]
        layout, seen = Layout(clock=Clock.TIME, prefix=prefix), Seen()
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

    def _follow(self, stop: threading.Event) -> None:
        """Run the projections; one that stops is told of at once, and leaves the rest running.

        What they need and is away is waited for, also before they have begun.
        """
        from eskit.projections.outages import may_pass

        watch = self._projections
        while not stop.is_set():
            try:
                reports = self._running.engine.run_each(
                    once=False, stay=True, stop=stop, progress=watch.progress, outage=watch.outage
                )
            except EskitError as error:
                if not may_pass(error):
                    raise
                watch.outage(error)
                stop.wait(_BEGIN_AGAIN_AFTER)
            else:
                self.failures += [report.error for report in reports if report.error is not None]

    def _show(self, event: RunnerEvent) -> None:
        detail = event.error
        if event.state == "ready" and event.service in self._details:
            detail = self._details[event.service]()
        if event.state in {"ready", "waiting"}:
            self._waiting[event.service] = event.state == "waiting" or self._relay_waits(event)
        told = self._status(event.service, event.state, detail)
        lines = [] if event.state in _QUIET or self._relay_waits(event) else told
        self._session.output.record(
            {"service": event.service, "state": event.state, "detail": detail}, lines
        )
        self._hint(event.hint)
        if event.state in {"ready", "waiting"} and event.service == self._last:
            waiting = ", ".join(name for name, waits in self._waiting.items() if waits)
            without = f" without {waiting}" if waiting else ""
            self._tell("eskit", f"up{without}; stop with Ctrl-C")
            self._last = ""

    def _relay_waits(self, event: RunnerEvent) -> bool:
        """Whether the relay runs and does nothing yet: it says itself what it waits for."""
        if self._broker is None or event.service != "relay" or event.state != "ready":
            return False
        return not self._broker.is_connected

    def _show_relay(self, status: RelayStatus) -> None:
        """Tell once of what is in the relay's way, and when it goes on."""
        if status.state == "connecting":  # where it goes on is not known yet
            return
        before, self._relay_told = self._relay_told, (status.state, status.error)
        if status.state == "away":
            if before[0] != "away":
                self._tell("relay", f"waiting for NATS: {status.error}")
        elif status.state == "blocked" and status.problem is not None:
            self._tell("relay", f"cannot go on: {status.error}")
            self._hint(status.problem.hint)
        elif status.state == "standby":
            self._tell("relay", "standing by: another relay of this store is active")
        elif status.state != "stopped" and before[0] in {"away", "blocked", "standby"}:
            self._tell("relay", f"goes on at position {status.position:,}")

    def _hint(self, text: str) -> None:
        """Say what to do, below what was told last."""
        if text:
            self._session.output.note(*labelled(" " * self._label, (text, "hint")))

    def _tell(self, name: str, text: str) -> None:
        if not self._session.output.as_json:
            self._session.output.show(self._status(name, text))

    def _status(self, name: str, state: str, error: str = "") -> Iterator[Line]:
        told = f"  {error}" if error else ""
        yield from labelled((f"{name:<{self._label}}", "name"), state, told)


class ShownCalls:
    """Answers as the app does, and tells of each call: what, how it ended and how long it took."""

    def __init__(self, app: RunningApp, tell: Callable[[str, str], None]) -> None:
        self._app, self._tell = app, tell

    def handle(self, method: Method, request: Message, options: CallOptions) -> Reply:
        """Answer one request."""
        begun = time.perf_counter()
        outcome = "ok"
        try:
            return self._app.handle(method, request, options)
        except Exception as error:
            outcome = getattr(error, "rejection", "") or type(error).__name__
            raise
        finally:
            milliseconds = (time.perf_counter() - begun) * 1000
            self._tell("call", f"{method.path}  {outcome}  {milliseconds:.1f} ms")

    def check_store(self) -> None:
        """Raise StoreUnavailable if nothing can be written to the store."""
        self._app.check_store()
