"""The services that make up a running application, for the runner.

``eskit serve`` runs them all: the embedded server, a connection that lives as long as the runner,
the relay, and the app's services over NATS. Projections are a `Worker` around the engine's `run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.cqrs.answers import Handles
from eskit.cqrs.authorisation import Authenticator, nobody
from eskit.cqrs.nats import NatsServices
from eskit.cqrs.reactions import Reaction
from eskit.cqrs.requests import Requests
from eskit.domain.events import RecordedEvent
from eskit.domain.services import ServiceType
from eskit.domain.subjects import DEFAULT_NAMES
from eskit.domain.upcasting import Upcasters
from eskit.errors import (
    BrokerUnavailable,
    EskitError,
    MissingPackage,
    RequestTimeout,
    ServiceError,
    SubscriptionTaken,
)
from eskit.messaging.followers import load_status
from eskit.messaging.publisher_nats import nats_relay
from eskit.messaging.relay import Relay, RelayReport, RelayStatus
from eskit.messaging.stream_settings import StreamSettings
from eskit.messaging.subscriber import Subscriber
from eskit.messaging.subscriptions_store import store_bus
from eskit.messaging.takeover import FindFormerPlace, take_over
from eskit.nats.connection import Connection, close_nats, open_nats
from eskit.nats.credentials import Provider
from eskit.nats.login import Tls
from eskit.nats.server import EmbeddedNats, find_announced, find_last_port, without_login
from eskit.runtime.service import Loop
from eskit.store.eventstore import EventStore

if TYPE_CHECKING:
    from eskit.cqrs.grpc.services import GrpcServices, ServerTls

_log = logging.getLogger("eskit.bus")
_LOOK_EVERY = 0.2

Settle: TypeAlias = Callable[[Connection], Awaitable[StreamSettings]]
"""Finds out, of a connection, how the stream of an app is called and what it should be like."""


class Broker:
    """A service that holds one connection to NATS, opened when it starts.

    `url` is asked for then, because an embedded server has none before it runs; so is `login`,
    who to be and how to trust the server. `client` is what the server's lists show. `on_change` is
    told, once of each, that NATS has gone away and that it is back.
    """

    def __init__(
        self,
        url: Callable[[], str],
        *,
        login: Callable[[], tuple[Provider | None, Tls | None]] = lambda: (None, None),
        client: str = "eskit serve",
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        self.name = "connection"
        self._on_change = on_change
        self._url, self._login, self._client = url, login, client
        self._connection: Connection | None = None
        self._failure = BrokerUnavailable("Not connected to NATS yet")

    @property
    def connection(self) -> Connection:
        """The connection; BrokerUnavailable before the start, with why the last one failed."""
        if self._connection is None:
            raise self._failure
        return self._connection

    @property
    def is_connected(self) -> bool:
        """Whether NATS is there now."""
        return self._connection is not None and self._connection.is_connected

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailable."""
        credentials, tls = self._login()
        try:
            self._connection = await open_nats(
                self._url(), name=self._client, credentials=credentials, tls=tls
            )
        except BrokerUnavailable as error:
            self._failure = error
            raise

    async def stop(self) -> None:
        """Send what is buffered, and close."""
        if self._connection is not None:
            await close_nats(self._connection)

    async def wait(self) -> None:
        """Tell of changes until it is cancelled: nats-py connects again by itself."""
        here = True
        while True:
            connected = self.is_connected
            if connected != here and self._on_change is not None:
                self._on_change("NATS is back" if connected else "NATS is away")
            here = connected
            await asyncio.sleep(_LOOK_EVERY)

    async def check_health(self) -> None:
        """Raise BrokerUnavailable while NATS is away."""
        if not self.connection.is_connected:
            raise BrokerUnavailable("NATS is away")


class ServicesOverNats:
    """A service that answers an app's methods over a broker's connection."""

    def __init__(
        self,
        app: Handles,
        broker: Broker,
        services: Sequence[ServiceType],
        *,
        authenticate: Authenticator = nobody,
        prefix: str = DEFAULT_NAMES.prefix,
    ) -> None:
        self.name = "services"
        self._app, self._broker = app, broker
        self._service_types = tuple(services)
        self._authenticate, self._prefix = authenticate, prefix
        self._served: NatsServices | None = None

    @property
    def service_names(self) -> list[str]:
        """The names under which NATS knows the services, once started."""
        return self._served.service_names if self._served is not None else []

    async def start(self) -> None:
        """Answer requests from now on."""
        self._served = NatsServices(
            Requests(self._app, authenticate=self._authenticate),
            self._broker.connection,
            self._service_types,
            prefix=self._prefix,
        )
        await self._served.start()

    async def stop(self) -> None:
        """Take no more requests, and let those under way finish."""
        if self._served is not None:
            await self._served.stop()

    async def check_health(self) -> None:
        """Raise why requests are not answered: the store is away, handlers hang, too many come."""
        if self._served is not None:
            await self._served.check_health()

    def describe(self) -> str:
        """Which services they are, and which handlers take longer than they should."""
        slow = self._served.describe() if self._served is not None else ""
        return "; ".join(filter(None, (", ".join(self.service_names), slow)))


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcPlace:
    """Where to answer over gRPC: a host, a port, 0 for a free one, and files with PEM for TLS.

    With `clients`, only clients whose certificate is signed by one of these get in.
    """

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None
    clients: Path | None = None


class ServicesOverGrpc:
    """A service that answers an app's methods over gRPC."""

    def __init__(
        self,
        app: Handles,
        services: Sequence[ServiceType],
        place: GrpcPlace,
        *,
        app_name: str,
        authenticate: Authenticator = nobody,
    ) -> None:
        """Raises MissingPackage without the extra."""
        if find_spec("grpc_health") is None or find_spec("grpc_reflection") is None:
            raise MissingPackage("gRPC", "grpcio-reflection", extra="grpc")
        self.name = "grpc"
        self._app, self._service_types, self._place = app, tuple(services), place
        self._app_name, self._authenticate = app_name, authenticate
        self._served: GrpcServices | None = None

    async def start(self) -> None:
        """Answer requests from now on."""
        from eskit.cqrs.grpc.services import GrpcServices

        self._served = GrpcServices(
            Requests(self._app, authenticate=self._authenticate),
            self._service_types,
            app_name=self._app_name,
            host=self._place.host,
            port=self._place.port,
            tls=_load_tls(self._place),
        )
        await self._served.start()

    async def stop(self) -> None:
        """Take no more requests, and let those under way finish."""
        if self._served is not None:
            await self._served.stop()

    async def check_health(self) -> None:
        """Raise why requests are not answered: the store is away, handlers hang, too many come."""
        if self._served is not None:
            await self._served.check_health()

    def describe(self) -> str:
        """Where it answers, and which handlers take longer than they should."""
        if self._served is None:
            return ""
        return "; ".join(filter(None, (self._served.url, self._served.describe())))


def _load_tls(place: GrpcPlace) -> ServerTls | None:
    from eskit.cqrs.grpc.services import ServerTls

    if place.certificate is None or place.key is None:
        return None
    try:
        return ServerTls(
            certificate=place.certificate.read_bytes(),
            key=place.key.read_bytes(),
            clients=place.clients.read_bytes() if place.clients is not None else None,
        )
    except OSError as error:
        raise ServiceError(
            f"{error.filename} cannot be read: {error.strerror}", hint="Check its path and mode."
        ) from error


class EmbeddedServer:
    """The embedded server as a service, announced to others in a project's folder.

    While another process of the project runs one, that is used; it is started when that has ended.
    """

    def __init__(self, server: EmbeddedNats, *, announce_in: Path | None = None) -> None:
        self.name = "nats"
        self._server, self._announce_in = server, announce_in
        self._found: str | None = None

    @property
    def address(self) -> str:
        """Where the server is that is used, without its login."""
        return without_login(self._found) if self._found else self._server.address

    async def start(self) -> None:
        """Find the one that runs, or start it: after the first time on the port it had."""
        await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """End it, unless it is another process's; idempotent."""
        await asyncio.to_thread(self._server.stop)

    async def wait(self) -> None:
        """Raise ServiceError when the server has ended by itself."""
        while True:
            await self.check_health()
            await asyncio.sleep(_LOOK_EVERY)

    async def check_health(self) -> None:
        """Raise ServiceError unless the server's processes are alive."""
        if self._found is None:
            self._server.check_health()
        elif self._find() != self._found:
            raise ServiceError("The NATS server of another process of this project has ended")

    def describe(self) -> str:
        """Where it is."""
        return self.address

    def _start(self) -> None:
        self._found = self._find()
        if self._found is not None:
            return
        if self._announce_in is not None:
            self._server.likely_port = find_last_port(self._announce_in)
        self._server.start()
        if self._announce_in is not None:
            self._server.announce(self._announce_in)

    def _find(self) -> str | None:
        return find_announced(self._announce_in) if self._announce_in is not None else None


class RelayOverNats:
    """The relay as a service: it ends for nothing but its stop, and says what is in its way."""

    def __init__(
        self,
        store: EventStore,
        broker: Broker,
        *,
        app_name: str,
        settings: StreamSettings | Settle,
        on_status: Callable[[RelayStatus], None] | None = None,
    ) -> None:
        self.name = "relay"
        self.report = RelayReport(published=0, position=0)
        """What it has done; complete when it has stopped."""
        self._store, self._broker = store, broker
        self._app_name, self._settings = app_name, settings
        self._on_status = on_status
        self._waiting = RelayStatus(state="connecting")
        self._relay: Relay | None = None
        self._loop = Loop(self.name, self._run)

    @property
    def status(self) -> RelayStatus:
        """What it does now."""
        return self._relay.status if self._relay is not None else self._waiting

    @property
    def problem(self) -> EskitError | None:
        """What is in its way and does not pass by itself."""
        return self.status.problem if self.status.state == "blocked" else None

    async def start(self) -> None:
        """Publish from now on, as soon as NATS is there."""
        await self._loop.start()

    async def stop(self) -> None:
        """Publish no more, and save how far it came."""
        await self._loop.stop()

    async def wait(self) -> None:
        """Return when it has ended; raise what it raised."""
        await self._loop.wait()

    async def check_health(self) -> None:
        """Raise what is in its way, also if that passes by itself."""
        await self._loop.check_health()
        if self.status.problem is not None:
            raise self.status.problem

    def describe(self) -> str:
        """What it does, and how far it is."""
        status = self.status
        if status.state == "standby":
            return f"standing by for {status.holder.text}" if status.holder else "standing by"
        behind = self._store.head_position() - status.position
        return f"{status.state} at position {status.position:,}, {max(behind, 0):,} behind"

    async def _run(self, stop: asyncio.Event) -> None:
        connection = await self._connected(stop)
        if connection is None:
            return
        settings = await self._settled(connection, stop)
        if settings is None:
            return
        self._relay = nats_relay(
            self._store,
            connection,
            app_name=self._app_name,
            settings=settings,
            on_status=self._on_status,
        )
        self.report = await self._relay.run(stop)

    async def _settled(self, connection: Connection, stop: asyncio.Event) -> StreamSettings | None:
        """The settings, once JetStream says which names hold; None if asked to stop before."""
        if isinstance(self._settings, StreamSettings):
            return self._settings
        while not stop.is_set():
            try:
                return await self._settings(connection)
            except (BrokerUnavailable, RequestTimeout) as error:
                await self._wait_out(error, stop)
        return None

    async def _connected(self, stop: asyncio.Event) -> Connection | None:
        """The broker's connection, as soon as it has one; None if asked to stop before."""
        while not stop.is_set():
            try:
                return self._broker.connection
            except BrokerUnavailable as error:
                await self._wait_out(error, stop)
        return None

    async def _wait_out(self, error: EskitError, stop: asyncio.Event) -> None:
        """Tell once of what it waits for, and pause."""
        if self._waiting.problem is None and self._on_status is not None:
            self._on_status(RelayStatus(state="away", problem=error))
        self._waiting = RelayStatus(state="away", problem=error)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY):
                await stop.wait()


class Reacting(Protocol):
    """What reacts: an opened application."""

    def react(self, reaction: Reaction, event: RecordedEvent) -> None:
        """Let a reaction handle one recorded event."""
        ...


class ReactionService:
    """A reaction at work on the log, as a service; a second one, of any process, stands by.

    `find_place` looks up in NATS how far it was, for a store that earlier versions of eskit have
    made; without it such a reaction does not begin.
    """

    def __init__(
        self,
        reaction: Reaction,
        app: Reacting,
        store: EventStore,
        *,
        upcasters: Upcasters,
        find_place: FindFormerPlace | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name = f"reaction {reaction.name}"
        self.subscription = reaction.subscription(upcasters)
        self._reaction, self._app, self._store = reaction, app, store
        self._find_place, self._clock = find_place, clock
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._subscriber: Subscriber | None = None

    async def start(self) -> None:
        """Handle events from now on, in the background."""
        self._stopping = False
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Finish what is being handled, and save how far it came."""
        self._stopping = True
        if self._subscriber is not None:
            with contextlib.suppress(EskitError):  # what it failed with is told by `wait`
                await self._subscriber.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def wait(self) -> None:
        """Return when it has ended; raise what it failed with."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def check_health(self) -> None:
        """Raise ServiceError when something is not well, as the status says it."""
        if self._task is None or self._task.done():
            raise ServiceError(f"{self.name} is not running")
        if self._subscriber is not None and self._subscriber.saving:
            raise ServiceError(f"it cannot be saved how far it is: {self._subscriber.saving}")
        status = await asyncio.to_thread(load_status, self._store, self.subscription)
        if status.error:
            raise ServiceError(status.error)

    def describe(self) -> str:
        """Whether it runs, stands by, or is paused."""
        return self._subscriber.state if self._subscriber is not None else ""

    async def _run(self) -> None:
        """Follow the log; begin anew when somebody else has taken over or reset it."""
        bus = store_bus(self._store, clock=self._clock)
        while not self._stopping:
            await take_over(self._store, self.subscription, self._find_place)
            self._subscriber = await bus.subscribe(
                self.subscription, functools.partial(self._app.react, self._reaction)
            )
            try:
                await self._subscriber.wait()
            except SubscriptionTaken:
                _log.warning("%s was taken over or reset: it starts again", self.name)
