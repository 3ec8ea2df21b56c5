"""A whole application in one runner: server, connection, relay and projections' thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Executor, Future

from google.protobuf.wrappers_pb2 import StringValue

from eskit.cqrs.answers import answered
from eskit.cqrs.nats import NatsTransport
from eskit.cqrs.options import CallOptions, Reply
from eskit.domain.events import NewEvent
from eskit.domain.services import Method, ServiceType
from eskit.domain.streams import ANY
from eskit.messaging.stream_settings import StreamSettings
from eskit.messaging.tail import TailRequest
from eskit.messaging.tail_nats import tail_nats
from eskit.nats.connection import connected
from eskit.nats.server import EmbeddedNats
from eskit.runtime.assembly import Broker, EmbeddedServer, RelayOverNats, ServicesOverNats
from eskit.runtime.runner import Runner
from eskit.runtime.service import Worker
from eskit.store.eventstore import EventStore
from eskit.store.open import open_store

WRITE = Method(
    service="test.v1.WriteService",
    name="Write",
    python_name="write",
    kind="command",
    request=StringValue,
    response=StringValue,
)


class Writer:
    """Appends an event for every command."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def submit(
        self,
        _method: Method,
        request: StringValue,
        _options: CallOptions,
        _executor: Executor | None,
    ) -> Future[Reply]:
        return answered(self._write, request)

    def _write(self, request: StringValue) -> Reply:
        result = self._store.append("Text-1", [NewEvent(request)], expected_version=ANY)
        return Reply(message=request, global_position=result.global_position)


async def test_a_command_over_nats_comes_out_of_the_relay() -> None:
    """The parts fit any broker, embedded or not."""
    server = EmbeddedNats()
    broker = Broker(lambda: server.url)
    projected = threading.Event()

    def project(stop: threading.Event) -> None:
        projected.set()
        stop.wait()

    with open_store("memory://") as store:
        services = ServicesOverNats(
            Writer(store), broker, [ServiceType(name=WRITE.service, methods=(WRITE,))]
        )
        runner = Runner(
            [
                EmbeddedServer(server),
                broker,
                RelayOverNats(store, broker, app_name="text", settings=StreamSettings()),
                Worker("projections", project),
                services,
            ]
        )
        stop = asyncio.Event()
        running = asyncio.create_task(runner.run(stop))
        while not all(health.healthy for health in await runner.check_health()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

        async with connected(server.url) as connection:
            transport = NatsTransport(connection)
            reply = await transport.request(WRITE, StringValue(value="hi"), CallOptions())
            events = tail_nats(connection, TailRequest(start="first"))
            event = await asyncio.wait_for(anext(events), 10)
            await events.aclose()
        stop.set()
        await running

    assert reply.global_position == event.global_position == 1
    assert event.message == StringValue(value="hi")
    assert projected.is_set()
    assert not server.running
