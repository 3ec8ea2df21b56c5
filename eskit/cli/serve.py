"""``eskit serve``: NATS, services, relay and projections in one process."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from eskit.cli.commands import examples, make_app
from eskit.cli.errors import format_error
from eskit.cli.nats import nats_folder
from eskit.cli.output import LogToStderr
from eskit.cli.session import EMBEDDED, Session, session_of
from eskit.cli.text import Span
from eskit.errors import EskitError, ProjectionBusy

if TYPE_CHECKING:
    from eskit.app import RunningApp
    from eskit.cqrs.reactions import Reaction
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
    reactions: Annotated[
        bool, typer.Option("--reactions/--no-reactions", help="Send commands on events.")
    ] = True,
    health: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Answer GET /health there; 0: a free port."
        ),
    ] = None,
) -> None:
    """Run services, relay, projections and reactions until Ctrl-C.

    Starts the embedded NATS server first when the project says so and none runs yet.
    """
    session = session_of(context)
    session.output.streaming = True
    logging.getLogger("eskit").addHandler(LogToStderr())
    with session.open_app() as running:
        host = Host(session, running)
        asyncio.run(
            host.run(services=services, relay=relay, projections=projections, reactions=reactions)
        )
    if host.failures:
        raise host.failures[0]


class Host:
    """Everything that runs in the process, around one app and one NATS connection."""

    def __init__(self, session: Session, running: RunningApp) -> None:
        self.failures: list[EskitError] = []
        self._session = session
        self._running = running
        self._last = ""
        self._told: list[EskitError] = []
        self._details: dict[str, Callable[[], str]] = {}

    async def run(self, *, services: bool, relay: bool, projections: bool, reactions: bool) -> None:
        """Run the chosen parts until a signal comes."""
        from eskit.runtime.probes import HealthProbe
        from eskit.runtime.runner import Runner
        from eskit.runtime.service import Worker

        parts: list[Service] = []
        if projections and self._running.app.projections:
            parts.append(Worker("projections", self._follow))
        chosen = self._running.app.reactions if reactions else ()
        if services or relay or chosen:
            parts = [*self._on_nats(parts, chosen, services=services, relay=relay)]
        if not parts:
            raise typer.BadParameter("Nothing is left to run")
        self._last = parts[-1].name
        runner = Runner(parts, on_event=self._show)
        if health is None:
            await runner.run()
            return
        probe = HealthProbe(runner.check_health, port=health)
        await probe.start()
        self._tell("health", f"http://127.0.0.1:{probe.port}/health")
        try:
            await runner.run()
        finally:
            await probe.stop()

    def _on_nats(
        self,
        parts: list[Service],
        reactions: Sequence[Reaction],
        *,
        services: bool,
        relay: bool,
    ) -> Iterator[Service]:
        """The parts in their order: NATS and the connection first, what answers and sends last."""
        from eskit.messaging.nats import StreamSettings
        from eskit.runtime import assembly
        from eskit.runtime.embedded import EmbeddedNats

        project, running = self._session.project, self._running
        settings = StreamSettings(name=project.nats_stream, prefix=project.nats_prefix)
        if project.nats == EMBEDDED and not self._session.find_nats():
            server = EmbeddedNats(nats_folder(project))
            self._details["nats"] = lambda: server.address
            yield assembly.embedded_nats(server, announce_in=project.root)
        broker = assembly.Broker(self._session.nats_url, login=self._session.nats_login)
        yield broker
        yield from parts
        if services:
            answering = assembly.ServicesOverNats(
                running,
                broker,
                running.app.service_types,
                authenticate=running.app.authenticate,
                prefix=project.nats_prefix,
            )
            self._details["services"] = lambda: ", ".join(answering.service_names)
            yield answering
        if relay:
            yield assembly.relay(
                running.store,
                broker,
                app_name=running.app.name,
                settings=settings,
                on_status=self._show_relay,
            )
        for reaction in reactions:
            yield assembly.ReactionOverNats(
                reaction, running, broker, upcasters=running.app.upcasters, settings=settings
            )

    def _follow(self, stop: threading.Event) -> None:
        """Run the projections; one that stops is told of at once, and leaves the rest running."""
        try:
            self._running.engine.run(once=False, stop=stop, progress=self._watch_projection)
        except ProjectionBusy as error:
            raise ProjectionBusy(
                error.message, hint="Stop it first, or leave it that: eskit serve --no-projections"
            ) from error
        except EskitError as error:
            self.failures.append(error)
            self._tell_of(error)
            stop.wait()

    def _watch_projection(self, progress: Progress) -> None:
        if progress.error is not None:
            self._tell_of(progress.error)

    def _tell_of(self, error: EskitError) -> None:
        if error not in self._told:
            self._told.append(error)
            self._session.output.note(*format_error(error))

    def _show(self, event: RunnerEvent) -> None:
        detail = event.error
        if event.state == "ready" and event.service in self._details:
            detail = self._details[event.service]()
        lines = [] if event.state in _QUIET else [_status(event.service, event.state, detail)]
        self._session.output.record(
            {"service": event.service, "state": event.state, "detail": detail}, lines
        )
        if event.state == "ready" and event.service == self._last:
            self._tell("eskit", "up; stop with Ctrl-C")

    def _show_relay(self, status: RelayStatus) -> None:
        if status.state == "away":
            self._tell("relay", f"waiting for NATS: {status.error}")
        elif status.state == "standby":
            self._tell("relay", "standing by: another relay of this store is active")

    def _tell(self, name: str, text: str) -> None:
        if not self._session.output.as_json:
            self._session.output.show([_status(name, text)])


def _status(name: str, state: str, error: str = "") -> list[Span]:
    return [(f"{name:<13}", "name"), state, f"  {error}" if error else ""]
