"""``eskit serve``: NATS, services, relay and projections in one process."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.errors import format_error
from eskit.cli.nats import nats_folder
from eskit.cli.output import LogToStderr
from eskit.cli.session import EMBEDDED, Session, session_of
from eskit.cli.text import Span
from eskit.errors import EskitError

if TYPE_CHECKING:
    from eskit.app import RunningApp
    from eskit.cqrs.nats import NatsServices
    from eskit.credentials.nats import Connection
    from eskit.messaging.relay import RelayStatus
    from eskit.projections.progress import Progress
    from eskit.runtime.runner import RunnerEvent
    from eskit.runtime.service import Service

app = make_app()

_QUIET = {"starting", "stopping"}


@app.command(**examples("eskit serve", "eskit serve --no-relay --no-projections"))
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
) -> None:
    """Run services, relay and projections until Ctrl-C.

    Starts the embedded NATS server first when the project says so and none runs yet.
    """
    session = session_of(context)
    session.output.streaming = True
    logging.getLogger("eskit").addHandler(LogToStderr())
    with session.open_app() as running:
        host = Host(session, running)
        asyncio.run(host.run(services=services, relay=relay, projections=projections))
    if host.failures:
        raise host.failures[0]


class Host:
    """Everything that runs in the process, around one app and one NATS connection."""

    def __init__(self, session: Session, running: RunningApp) -> None:
        self.failures: list[EskitError] = []
        self._session = session
        self._running = running
        self._connection: Connection | None = None
        self._last = ""
        self._details: dict[str, str] = {}

    async def run(self, *, services: bool, relay: bool, projections: bool) -> None:
        """Run the chosen parts until a signal comes."""
        from eskit.runtime.runner import Runner
        from eskit.runtime.service import Loop, Worker

        parts: list[Service] = self._nats() if services or relay else []
        if projections and self._running.app.projections:
            parts.append(Worker("projections", self._follow))
        if services:
            parts.append(_Services(self))
        if relay:
            parts.append(Loop("relay", self._publish))
        if not parts:
            raise typer.BadParameter("Nothing is left to run")
        self._last = parts[-1].name
        await Runner(parts, on_event=self._show).run()

    @property
    def connection(self) -> Connection:
        """The connection, which is there while services and relay run."""
        if self._connection is None:
            raise RuntimeError("the connection is started before what uses it")
        return self._connection

    def _nats(self) -> list[Service]:
        """The connection, after the embedded server where the project has one to start."""
        from eskit.runtime.embedded import EmbeddedNats
        from eskit.runtime.service import Resource

        project = self._session.project
        if project.nats != EMBEDDED or self._session.find_nats():
            return [_Connection(self)]
        server = EmbeddedNats(nats_folder(project))

        def start() -> None:
            server.start()
            server.announce(project.root)
            self._details["nats"] = server.address

        return [
            Resource("nats", start, server.stop, check=server.check_health),
            _Connection(self),
        ]

    def _follow(self, stop: threading.Event) -> None:
        """Run the projections; one that stops is told of at once, and leaves the rest running."""
        try:
            self._running.engine.run(once=False, stop=stop, progress=self._watch_projection)
        except EskitError as error:
            self.failures.append(error)
            stop.wait()

    def _watch_projection(self, progress: Progress) -> None:
        if progress.error is not None:
            self._session.output.note(*format_error(progress.error))

    async def _publish(self, stop: asyncio.Event) -> None:
        from eskit.messaging.nats import StreamSettings, nats_relay

        project = self._session.project
        worker = nats_relay(
            self._running.store,
            self.connection,
            app_name=self._running.app.name,
            settings=StreamSettings(name=project.nats_stream, prefix=project.nats_prefix),
            on_status=self._show_relay,
        )
        await worker.run(stop)

    async def open_connection(self) -> None:
        """Connect to NATS."""
        from eskit.credentials.nats import open_nats

        self._connection = await open_nats(self._session.nats_url(), name="eskit serve")

    async def close_connection(self) -> None:
        """Disconnect from NATS."""
        from eskit.credentials.nats import close_nats

        if self._connection is not None:
            await close_nats(self._connection)

    async def answer(self) -> NatsServices:
        """Answer the app's services from now on."""
        from eskit.cqrs.nats import serve_nats

        served = await serve_nats(
            self._running,
            self.connection,
            self._running.app.service_types,
            prefix=self._session.project.nats_prefix,
        )
        self._details["services"] = ", ".join(served.service_names)
        return served

    def _show(self, event: RunnerEvent) -> None:
        detail = event.error or (
            self._details.get(event.service, "") if event.state == "ready" else ""
        )
        lines = [] if event.state in _QUIET else [_status(event.service, event.state, detail)]
        self._session.output.record(
            {"service": event.service, "state": event.state, "detail": detail}, lines
        )
        if event.state == "ready" and event.service == self._last:
            self._tell("eskit", "up; stop with Ctrl-C")

    def _show_relay(self, status: RelayStatus) -> None:
        if status.state == "away":
            self._tell("relay", f"waiting for NATS: {status.error}")

    def _tell(self, name: str, text: str) -> None:
        if not self._session.output.as_json:
            self._session.output.show([_status(name, text)])


class _Connection:
    """The NATS connection as a part that starts and stops."""

    name = "connection"

    def __init__(self, host: Host) -> None:
        self._host = host

    async def start(self) -> None:
        await self._host.open_connection()

    async def stop(self) -> None:
        await self._host.close_connection()


class _Services:
    """The app's services as a part that starts and stops."""

    name = "services"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._served: NatsServices | None = None

    async def start(self) -> None:
        self._served = await self._host.answer()

    async def stop(self) -> None:
        if self._served is not None:
            await self._served.stop()


def _status(name: str, state: str, error: str = "") -> list[Span]:
    return [(f"{name:<13}", "name"), state, f"  {error}" if error else ""]
