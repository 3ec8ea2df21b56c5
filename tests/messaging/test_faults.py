"""What goes wrong with servers and processes, done for real."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from eskit.domain.events import RecordedEvent
from eskit.messaging.publisher_nats import nats_relay
from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_nats import nats_bus
from eskit.messaging.tail import TailRequest
from eskit.messaging.tail_nats import tail_nats
from eskit.nats.connection import connected
from eskit.nats.server import EmbeddedNats
from eskit.store.eventstore import EventStore
from tests.messaging.conftest import StartServer, append, until

EVENTS = 20_000
EVERYTHING = TailRequest(start="first", follow=False)

SUBSCRIBER = """
import asyncio, os, sys
from eskit.nats.connection import open_nats
from eskit.messaging import subscriber
from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_nats import nats_bus
subscriber.HEARTBEAT, subscriber.LEASE = 0.1, 0.5
async def handle(event):
    with open(sys.argv[2], "a") as file:
        file.write(f"{event.global_position}\\n")
    await asyncio.sleep(0.03)
async def main():
    connection = await open_nats(sys.argv[1])
    subscriber = await nats_bus(connection).subscribe(
        Subscription(name="killed", max_concurrent=4), handle)
    await subscriber.wait()
asyncio.run(main())
"""


@pytest.mark.slow
async def test_no_event_is_lost_or_doubled_when_the_server_stops_dies_and_loses_its_disk(
    file_store: EventStore, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server(tmp_path / "nats0")
    port = urlsplit(server.url).port or 0
    appending = threading.Thread(target=append, args=(file_store, EVENTS))

    async with connected(server.url) as connection:
        stop = asyncio.Event()
        relay = asyncio.create_task(nats_relay(file_store, connection, app_name="bank").run(stop))
        appending.start()
        for number, folder in ((signal.SIGTERM, "nats0"), (signal.SIGKILL, "nats0"), (9, "nats1")):
            await asyncio.sleep(0.5)
            os.kill(server.pid, number)
            await asyncio.to_thread(server.stop)
            server = await asyncio.to_thread(start_server, tmp_path / folder, port=port)
        await asyncio.to_thread(appending.join)
        async with asyncio.timeout(60):
            while not connection.is_connected:  # noqa: ASYNC110 - by a task of nats-py
                await asyncio.sleep(0.05)
        positions: list[int] = []
        deadline = time.monotonic() + 60
        while positions[-1:] != [EVENTS] and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            request = TailRequest(start="first", follow=False)
            positions = [event.global_position async for event in tail_nats(connection, request)]
        stop.set()
        await relay

    assert positions == list(range(1, EVENTS + 1))


@pytest.mark.promise("subscriptions-are-at-least-once")
async def test_a_killed_subscriber_handles_everything_and_each_stream_in_order(
    file_store: EventStore, server: EmbeddedNats, tmp_path: Path
) -> None:
    """What was published while nobody ran is handled by the next."""
    append(file_store, 400, streams=4)
    handled = tmp_path / "handled"
    async with connected(server.url) as connection:
        await nats_relay(file_store, connection, app_name="bank").run_once()

        handled.touch()
        for _ in range(3):
            enough = len(handled.read_text().split()) + 20
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", SUBSCRIBER, server.url, str(handled))
            )
            await until(lambda: len(handled.read_text().split()) >= enough)  # noqa: B023
            child.kill()
            await child.wait()
        rest: list[int] = []

        def handle(event: object) -> None:
            rest.append(event.global_position)  # type: ignore[attr-defined]

        subscriber = await nats_bus(connection).subscribe(Subscription(name="killed"), handle)
        before = [int(line) for line in handled.read_text().split()]
        deadline = time.monotonic() + 60
        while len({*before, *rest}) < 400 and time.monotonic() < deadline:  # noqa: ASYNC110 - by a thread
            await asyncio.sleep(0.05)
        await subscriber.stop()

    positions = before + rest
    assert set(positions) == set(range(1, 401))
    assert len(positions) < 800
    for stream in range(4):
        firsts = list(dict.fromkeys(p for p in positions if p % 4 == stream))
        assert firsts == sorted(firsts)


POISONED = """
import asyncio, os, signal, sys
from eskit.nats.connection import open_nats
from eskit.messaging import subscriber
from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_nats import nats_bus

subscriber.LEASE, subscriber.HEARTBEAT = 0.5, 0.1

async def main():
    async def handle(event):
        with open(sys.argv[2], "a") as file:
            file.write(f"{event.global_position}\\n")
        if event.global_position == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    bus = nats_bus(await open_nats(sys.argv[1]))
    following = await bus.subscribe(Subscription(name="poisoned", max_deliveries=2), handle)
    while following.position != 8:
        await asyncio.sleep(0.01)
    await following.stop()

asyncio.run(main())
"""


@pytest.mark.promise("crashing-events-are-parked")
async def test_an_event_that_ends_the_process_is_set_aside_and_its_neighbours_are_not(
    file_store: EventStore, server: EmbeddedNats, tmp_path: Path
) -> None:
    """Nobody raises, so nobody counts, unless it is counted before."""
    append(file_store, 8, streams=8)
    handled = tmp_path / "handled"
    ended: list[int] = []
    async with connected(server.url) as connection:
        await nats_relay(file_store, connection, app_name="bank").run_once()

        while 0 not in ended:
            assert len(ended) < 5
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", POISONED, server.url, str(handled))
            )
            ended.append(await asyncio.wait_for(child.wait(), 60))
        (letter,) = await nats_bus(connection).dead_letters.waiting("poisoned")

    positions = [int(line) for line in handled.read_text().split()]
    assert ended == [-signal.SIGKILL] * 3 + [0]  # the first time nobody knew
    assert positions.count(5) == 3
    assert set(positions) == set(range(1, 9))
    assert letter.event.global_position == 5
    assert letter.deliveries == 2
    assert letter.error.startswith("DeliveryFailed: Begun 2 times")


@pytest.mark.promise("subscriptions-are-at-least-once")
async def test_a_subscription_goes_on_after_the_server_restarts(
    file_store: EventStore, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server(tmp_path / "nats")
    port = urlsplit(server.url).port or 0
    handled: list[int] = []

    def handle(event: object) -> None:
        handled.append(event.global_position)  # type: ignore[attr-defined]

    async with connected(server.url) as connection:
        stop = asyncio.Event()
        relay = asyncio.create_task(nats_relay(file_store, connection, app_name="bank").run(stop))
        subscriber = await nats_bus(connection).subscribe(Subscription(name="steady"), handle)
        await asyncio.to_thread(append, file_store, 100)
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.to_thread(server.stop)
        server = await asyncio.to_thread(start_server, tmp_path / "nats", port=port)
        await asyncio.to_thread(append, file_store, 100)
        deadline = time.monotonic() + 60
        while len(handled) < 200 and time.monotonic() < deadline:  # noqa: ASYNC110 - by a thread
            await asyncio.sleep(0.05)
        await subscriber.stop()
        stop.set()
        await relay

    assert sorted(handled) == list(range(1, 201))


async def test_a_subscription_begun_while_the_server_is_away_waits_for_it(
    file_store: EventStore, tmp_path: Path, start_server: StartServer
) -> None:
    append(file_store, 10)
    server = start_server(tmp_path / "nats")
    port = urlsplit(server.url).port or 0
    handled: list[int] = []

    async def handle(event: RecordedEvent) -> None:
        handled.append(event.global_position)

    async with connected(server.url) as connection:
        await nats_relay(file_store, connection, app_name="bank").run_once()
        await asyncio.to_thread(server.stop)
        subscriber = await nats_bus(connection).subscribe(Subscription(name="early"), handle)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(start_server, tmp_path / "nats", port=port)
        deadline = time.monotonic() + 60
        while len(handled) < 10 and time.monotonic() < deadline:  # noqa: ASYNC110 - by a task
            await asyncio.sleep(0.05)
        await subscriber.stop()

    assert sorted(handled) == list(range(1, 11))


KILLED_BETWEEN = """
import asyncio, os, signal, sys
from eskit.nats.connection import open_nats
from eskit.messaging.publisher_nats import nats_relay
from eskit.store.open import open_store

async def relay_until_it_would_save(batches):
    store = open_store(sys.argv[1])
    relay = nats_relay(store, await open_nats(sys.argv[2]), app_name="bank")
    relay.BATCH, relay.SAVE_EVERY = 7, 0.0
    def save_or_die(name, *, position, event_id, under):
        nonlocal batches
        batches -= position > 0
        if batches < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return save(name, position=position, event_id=event_id, under=under)
    save, store.save_checkpoint = store.save_checkpoint, save_or_die
    await relay.run(asyncio.Event())

for number in range(int(sys.argv[3])):
    if not (child := os.fork()):
        asyncio.run(relay_until_it_would_save(number % 4))
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
"""


@pytest.mark.promise("published-once-in-order")
async def test_a_relay_killed_between_publish_and_checkpoint_publishes_nothing_twice(
    file_store: EventStore, server: EmbeddedNats
) -> None:
    rounds = int(os.environ.get("ESKIT_TEST_KILLS", "30"))
    append(file_store, rounds * 28)

    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED_BETWEEN, file_store.url, server.url, str(rounds))
    )
    assert await child.wait() == 0
    async with connected(server.url) as connection:
        before = [event async for event in tail_nats(connection, EVERYTHING)]
        checkpoint = file_store.find_checkpoint("relay")
        await nats_relay(file_store, connection, app_name="bank").run_once()
        positions = [event.global_position async for event in tail_nats(connection, EVERYTHING)]

    assert checkpoint is not None
    assert checkpoint.position < before[-1].global_position
    assert len(before) >= rounds
    assert positions == list(range(1, rounds * 28 + 1))
