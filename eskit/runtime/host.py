"""What runs in one process around an opened app: projections, reactions, and what needs NATS."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from google.protobuf.message import Message

from eskit.clock import SYSTEM_CLOCK
from eskit.cqrs.answers import Handles
from eskit.cqrs.authorisation import Authenticator
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.reactions import Reaction
from eskit.cqrs.requests import ChecksStore
from eskit.domain.services import Method, ServiceType
from eskit.domain.upcasting import Upcasters
from eskit.errors import EskitError
from eskit.messaging.relay import RelayStatus
from eskit.messaging.takeover import FindFormerPlace, needs_place
from eskit.nats.credentials import Provider
from eskit.nats.login import Tls
from eskit.nats.server import EmbeddedNats
from eskit.projections.engine import ProjectionEngine
from eskit.projections.projection import Projection
from eskit.projections.transient import is_transient
from eskit.runtime.assembly import (
    Broker,
    EmbeddedServer,
    GrpcPlace,
    Reacting,
    ReactionService,
    RelayOverNats,
    ServicesOverGrpc,
    ServicesOverNats,
    Settle,
)
from eskit.runtime.postgres import OwnPostgres
from eskit.runtime.projecting import ProjectionWatch
from eskit.runtime.service import Service, Worker
from eskit.store.eventstore import EventStore

_BEGIN_AGAIN_AFTER = 1.0
_SHOWN = (OwnPostgres, EmbeddedServer, ServicesOverGrpc, ServicesOverNats)
"""The parts of which more is shown than that they are ready."""


class Declared(Protocol):
    """What an app declares."""

    name: str
    upcasters: Upcasters

    @property
    def authenticate(self) -> Authenticator:
        """Finds out who calls."""

    @property
    def projections(self) -> Sequence[Projection]:
        """Its projections."""

    @property
    def reactions(self) -> Sequence[Reaction]:
        """Its reactions."""

    @property
    def service_types(self) -> Sequence[ServiceType]:
        """The services that it answers."""


class Opened(Handles, ChecksStore, Reacting, Protocol):
    """An app, opened over a store and read models."""

    @property
    def app(self) -> Declared:
        """What it declares."""

    @property
    def store(self) -> EventStore:
        """The log."""

    @property
    def engine(self) -> ProjectionEngine:
        """Its projections over the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Which parts of an app run; services also over gRPC where that has a place."""

    services: bool = True
    grpc: GrpcPlace | None = None
    relay: bool = True
    projections: bool = True
    reactions: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsOfProject:
    """Where NATS is, who to be there, and how the app's stream is called.

    `find_place` looks up there how far reactions were. With `server` what it makes is started,
    unless another process of the project, found by what that announced in the folder `announce_in`,
    runs one.
    """

    url: Callable[[], str]
    login: Callable[[], tuple[Provider | None, Tls | None]]
    settings: Settle
    prefix: str
    find_place: FindFormerPlace
    server: Callable[[], EmbeddedNats] | None = None
    announce_in: Path | None = None


class Host:
    """The parts of one app as services, in the order in which they start.

    `postgres` is the server that the store is in, if that is the project's own. `on_connection` and
    `on_relay` hear of changes. `answer` takes requests in place of the app.
    """

    def __init__(
        self,
        opened: Opened,
        nats: NatsOfProject,
        *,
        parts: Parts,
        postgres: OwnPostgres | None = None,
        watch: ProjectionWatch,
        on_connection: Callable[[str], None],
        on_relay: Callable[[RelayStatus], None],
        answer: Handles | None = None,
    ) -> None:
        self._opened, self._nats, self._parts, self._watch = opened, nats, parts, watch
        self._postgres = postgres
        self._on_connection, self._on_relay = on_connection, on_relay
        self._answer = answer or opened
        self._stopped: list[EskitError] = []
        self._broker: Broker | None = None
        self._relay: RelayOverNats | None = None
        self.services: list[Service] = list(self._make_services())

    @property
    def failures(self) -> list[EskitError]:
        """Why projections have stopped, and what is in the relay's way and does not pass."""
        blocked = self._relay.problem if self._relay is not None else None
        return [*self._stopped, *([blocked] if blocked is not None else [])]

    @property
    def is_connected(self) -> bool:
        """Whether NATS is there, or is not needed."""
        return self._broker is None or self._broker.is_connected

    def describe(self, name: str) -> str:
        """Where servers are, and which services answer; empty for the other parts."""
        for service in self.services:
            if service.name == name and isinstance(service, _SHOWN):
                return service.describe()
        return ""

    def _make_services(self) -> Iterator[Service]:
        """Servers and the connection first, what answers and sends last."""
        if self._postgres is not None:
            yield self._postgres
        parts, store = self._parts, self._opened.store
        reactions = list(self._reactions()) if parts.reactions else []
        places = any(needs_place(store, reaction.subscription) for reaction in reactions)
        if parts.services or parts.relay or places:
            yield from self._connection()
        if parts.projections and self._opened.app.projections:
            watch = self._watch
            yield Worker("projections", self._project, check=watch.check, describe=watch.describe)
        if self._broker is not None:
            yield from self._over_nats(self._broker)
        if parts.services and parts.grpc is not None:
            app = self._opened.app
            yield ServicesOverGrpc(
                self._answer,
                app.service_types,
                parts.grpc,
                app_name=app.name,
                authenticate=app.authenticate,
            )
        yield from reactions

    def _connection(self) -> Iterator[Service]:
        nats = self._nats
        if nats.server is not None:
            yield EmbeddedServer(nats.server(), announce_in=nats.announce_in)
        self._broker = Broker(nats.url, login=nats.login, on_change=self._on_connection)
        yield self._broker

    def _over_nats(self, broker: Broker) -> Iterator[Service]:
        opened, nats = self._opened, self._nats
        if self._parts.services:
            yield ServicesOverNats(
                self._answer,
                broker,
                opened.app.service_types,
                authenticate=opened.app.authenticate,
                prefix=nats.prefix,
            )
        if self._parts.relay:
            self._relay = RelayOverNats(
                opened.store,
                broker,
                app_name=opened.app.name,
                settings=nats.settings,
                on_status=self._on_relay,
            )
            yield self._relay

    def _reactions(self) -> Iterator[ReactionService]:
        """The reactions, which follow the log in the store."""
        opened = self._opened
        for reaction in opened.app.reactions:
            yield ReactionService(
                reaction,
                opened,
                opened.store,
                upcasters=opened.app.upcasters,
                find_place=self._nats.find_place,
            )

    def _project(self, stop: threading.Event) -> None:
        """Run the projections; one that stops is reported at once, and leaves the rest running.

        What they need and is away is waited for, also before they have begun.
        """
        watch = self._watch
        while not stop.is_set():
            try:
                reports = self._opened.engine.run_each(
                    once=False, stay=True, stop=stop, progress=watch.progress, waiting=watch.waiting
                )
            except EskitError as error:
                if not is_transient(error):
                    raise
                watch.waiting(error)
                stop.wait(_BEGIN_AGAIN_AFTER)
            else:
                self._stopped += [report.error for report in reports if report.error is not None]


class ShownCalls:
    """Answers as the app does, and reports each call: what, how it ended and how long it took."""

    def __init__(self, app: Opened, tell: Callable[[str], None]) -> None:
        self._app, self._tell = app, tell

    def submit(
        self, method: Method, request: Message, options: CallOptions, executor: Executor | None
    ) -> Future[Reply]:
        """Answer one request."""
        answer = self._app.submit(method, request, options, executor)
        answer.add_done_callback(functools.partial(self._show, method, SYSTEM_CLOCK.monotonic()))
        return answer

    def _show(self, method: Method, begun: float, answer: Future[Reply]) -> None:
        error = answer.exception()
        outcome = getattr(error, "rejection", "") or type(error).__name__ if error else "ok"
        milliseconds = (SYSTEM_CLOCK.monotonic() - begun) * 1000
        self._tell(f"{method.path}  {outcome}  {milliseconds:.1f} ms")

    def check_store(self) -> None:
        """Raise StoreUnavailable if nothing can be written to the store."""
        self._app.check_store()
