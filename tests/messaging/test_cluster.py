"""Three nats-servers on the loopback interface: one is lost and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue
from nats.errors import NoRespondersError

from eskit.cqrs.answers import answered
from eskit.cqrs.nats import NatsTransport, serve_nats
from eskit.cqrs.options import CallOptions, Reply
from eskit.domain.commands import Command
from eskit.domain.events import NewEvent, RecordedEvent
from eskit.domain.services import Method, ServiceType
from eskit.domain.streams import ANY
from eskit.errors import MessagingError
from eskit.messaging.publisher_nats import nats_relay
from eskit.messaging.stream_settings import StreamSettings
from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_nats import BUCKET, nats_bus
from eskit.messaging.tail import TailRequest
from eskit.messaging.tail_nats import tail_nats
from eskit.nats.connection import Connection, connected
from eskit.nats.jetstream import api
from eskit.nats.server import EmbeddedNats
from eskit.store.eventstore import EventStore
from tests.messaging.conftest import append, until

NODES = 3
WRITE = Method(
    service="test.v1.NoteCommandService",
    name="Write",
    python_name="write",
    kind="command",
    request=StringValue,
    response=StringValue,
)


TOKEN = "of-the-test"  # noqa: S105 - of servers of the test


class Cluster:
    """Nodes that know each other; each can be killed and started again at its place."""

    def __init__(self, folder: Path) -> None:
        ports = _free_ports(2 * NODES)
        self._ports, routes = ports[:NODES], ports[NODES:]
        self._folder, self._routes = folder, routes
        self.nodes = [self._make(number) for number in range(NODES)]

    @property
    def url(self) -> str:
        return ",".join(f"nats://{TOKEN}@127.0.0.1:{port}" for port in self._ports)

    def start(self, number: int) -> None:
        self.nodes[number] = self._make(number).start()

    def kill(self, number: int) -> None:
        os.kill(self.nodes[number].pid, signal.SIGKILL)
        self.nodes[number].stop()

    def _make(self, number: int) -> EmbeddedNats:
        return EmbeddedNats(
            self._folder / f"n{number}",
            port=self._ports[number],
            token=TOKEN,
            extra_config={
                "server_name": f"n{number}",
                "cluster": {
                    "name": "three",
                    "listen": f"127.0.0.1:{self._routes[number]}",
                    "routes": [f"nats://127.0.0.1:{port}" for port in self._routes],
                },
            },
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "cluster")
    try:
        for number in range(NODES):
            cluster.start(number)
        yield cluster
    finally:
        for node in cluster.nodes:
            node.stop()


@pytest.mark.slow
@pytest.mark.promise("nodes-may-fail")
async def test_a_cluster_that_loses_its_leader_loses_and_doubles_no_event(
    file_store: EventStore, cluster: Cluster
) -> None:
    settings = StreamSettings(replicas=NODES)
    async with connected(cluster.url) as connection:
        await until_ready(connection)
        stop = asyncio.Event()
        relay = asyncio.create_task(
            nats_relay(file_store, connection, app_name="bank", settings=settings).run(stop)
        )
        await asyncio.to_thread(append, file_store, 500)
        await until_published(connection, 100)

        lost = await leader(connection)
        await asyncio.to_thread(cluster.kill, lost)
        await asyncio.to_thread(append, file_store, 500)
        await until_published(connection, 1000)
        await asyncio.to_thread(cluster.start, lost)
        await asyncio.to_thread(append, file_store, 500)
        await until_published(connection, 1500)

        stop.set()
        await relay
        request = TailRequest(start="first", follow=False)
        positions = [event.global_position async for event in tail_nats(connection, request)]

    assert positions == list(range(1, 1501))


@pytest.mark.slow
async def test_the_progress_of_a_subscription_is_kept_on_as_many_nodes_as_the_events(
    file_store: EventStore, cluster: Cluster
) -> None:
    handled: list[int] = []

    async def handle(event: RecordedEvent) -> None:
        handled.append(event.global_position)

    async with connected(cluster.url) as connection:
        await until_ready(connection)
        settings = StreamSettings(replicas=NODES)
        append(file_store, 100)
        relay = nats_relay(file_store, connection, app_name="bank", settings=settings)
        await relay.run_once()
        first = await nats_bus(connection).subscribe(Subscription(name="kept"), handle)
        await until(lambda: len(handled) == 100)
        await first.stop()
        bucket = await api(connection, f"STREAM.INFO.KV_{BUCKET}")

        await asyncio.to_thread(cluster.kill, await leader(connection, f"KV_{BUCKET}"))
        await until_led(connection, "ESKIT_EVENTS", f"KV_{BUCKET}")
        append(file_store, 100)
        await relay.run_once()
        second = await nats_bus(connection).subscribe(Subscription(name="kept"), handle)
        await until(lambda: len(handled) >= 200)
        await second.stop()

    assert bucket["config"]["num_replicas"] == NODES
    assert sorted(handled) == list(range(1, 201))


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["client", "service"])
@pytest.mark.promise("nodes-may-fail")
async def test_a_node_lost_in_the_middle_of_a_request_leaves_one_event_for_one_command(
    file_store: EventStore, cluster: Cluster, whose: str
) -> None:
    handled: list[str] = []

    class Slow:
        def submit(
            self,
            _method: Method,
            request: Message,
            options: CallOptions,
            _executor: Executor | None,
        ) -> Future[Reply]:
            return answered(self._write, request, options)

        def _write(self, request: Message, options: CallOptions) -> Reply:
            handled.append(options.command_id)
            time.sleep(0.3)
            result = file_store.append(
                "Note-1",
                [NewEvent(request)],
                expected_version=ANY,
                command=Command(
                    id=options.command_id, fingerprint="x", response=request.SerializeToString()
                ),
            )
            return Reply(message=request, global_position=result.global_position)

    service = ServiceType(name=WRITE.service, methods=(WRITE,))
    async with connected(cluster.url) as server, connected(cluster.url) as client:
        served = await serve_nats(Slow(), server, [service])
        await until_answered(client, f"$SRV.PING.{served.service_names[0]}")
        calling = asyncio.create_task(
            NatsTransport(client, attempts=10).request(
                WRITE, StringValue(value="once"), CallOptions(command_id="c-1", timeout=30)
            )
        )
        await until(lambda: handled)
        lost = node_of(client if whose == "client" else server, cluster)
        await asyncio.to_thread(cluster.kill, lost)
        reply = await calling
        await served.stop()

    assert reply.message == StringValue(value="once")
    assert [event.version for event in file_store.read_stream("Note-1")] == [1]


async def until_ready(connection: Connection) -> None:
    """Return when JetStream has a leader."""
    async with asyncio.timeout(30):
        while True:
            try:
                await api(connection, "INFO")
            except MessagingError:
                await asyncio.sleep(0.1)
            else:
                return


async def until_answered(connection: Connection, subject: str) -> None:
    """Return when the subscription is known to every node."""
    async with asyncio.timeout(30):
        while True:
            try:
                await connection.request(subject, timeout=1)
            except (NoRespondersError, TimeoutError):
                await asyncio.sleep(0.05)
            else:
                return


async def until_published(connection: Connection, sequence: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                info = await api(connection, "STREAM.INFO.ESKIT_EVENTS")
            except MessagingError:
                info = {"state": {"last_seq": 0}}
            if info["state"]["last_seq"] >= sequence:
                return
            await asyncio.sleep(0.1)


async def until_led(connection: Connection, *streams: str) -> None:
    """Return when each of the streams has a leader that answers."""
    async with asyncio.timeout(60):
        for stream in streams:
            while True:
                try:
                    await leader(connection, stream)
                except (MessagingError, KeyError):
                    await asyncio.sleep(0.1)
                else:
                    break


async def leader(connection: Connection, stream: str = "ESKIT_EVENTS") -> int:
    info = await api(connection, f"STREAM.INFO.{stream}")
    return int(info["cluster"]["leader"].removeprefix("n"))


def node_of(connection: Connection, cluster: Cluster) -> int:
    """The node that a connection is at."""
    assert connection.connected_url is not None
    ports = [node.address.rpartition(":")[2] for node in cluster.nodes]
    return ports.index(str(connection.connected_url.port))


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
