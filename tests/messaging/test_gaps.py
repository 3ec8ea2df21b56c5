"""What a subscription over NATS does when the stream or its own progress is not what it was."""

from __future__ import annotations

import asyncio

import pytest

from eskit.errors import LogBroken, PlaceLost
from eskit.messaging.publisher_nats import nats_relay
from eskit.messaging.stream_settings import StreamSettings
from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_nats import BUCKET, nats_bus
from eskit.nats.connection import connected
from eskit.nats.jetstream import api, delete_stream, publish
from eskit.nats.server import EmbeddedNats
from eskit.store.eventstore import EventStore
from tests.messaging.conftest import append, until

SETTINGS = StreamSettings(name="BANK_EVENTS", prefix="bank.events")
NAMES = {"stream": SETTINGS.name, "prefix": SETTINGS.prefix}


async def publish_all(store: EventStore, connection) -> None:
    """Publish what the log has."""
    await nats_relay(store, connection, app_name="bank", settings=SETTINGS).run_once()


async def test_events_that_are_gone_before_they_were_handled_are_an_error(
    server: EmbeddedNats, store: EventStore
) -> None:
    handled: list[int] = []

    async def handle(event) -> None:
        handled.append(event.global_position)

    async with connected(server.url) as connection:
        bus = nats_bus(connection, **NAMES)
        append(store, 2)
        await publish_all(store, connection)
        first = await bus.subscribe(Subscription(name="mailer"), handle)
        await until(lambda: first.position == 2)
        await first.stop()
        append(store, 3)
        await publish_all(store, connection)
        await api(connection, f"STREAM.PURGE.{SETTINGS.name}", {"seq": 5})

        second = await bus.subscribe(Subscription(name="mailer"), handle)
        with pytest.raises(LogBroken, match="begins at 5: events after 2 are gone"):
            await asyncio.wait_for(second.wait(), 60)
        await bus.reset("mailer", after=4)
        third = await bus.subscribe(Subscription(name="mailer"), handle)
        await until(lambda: len(handled) == 3)
        await third.stop()

    assert handled == [1, 2, 5]


async def test_an_interest_in_little_takes_no_aged_out_event_for_a_gap(
    server: EmbeddedNats, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eskit.messaging.jetstream_source._LOOK_EVERY", 0.0)

    async with connected(server.url) as connection:
        bus = nats_bus(connection, **NAMES)
        append(store, 4)
        await publish_all(store, connection)
        rare = Subscription(name="rare", event_types=["google.protobuf.Int32Value"])
        first = await bus.subscribe(rare, print)
        await until(lambda: first.position == 4)
        await first.stop()
        append(store, 1)
        await publish_all(store, connection)
        await api(connection, f"STREAM.PURGE.{SETTINGS.name}", {"seq": 5})

        second = await bus.subscribe(rare, print)
        await until(lambda: second.position == 5)
        await second.stop()


async def test_garbage_in_place_of_the_progress_is_named_and_can_be_replaced(
    server: EmbeddedNats, store: EventStore
) -> None:
    async with connected(server.url) as connection:
        bus = nats_bus(connection, **NAMES)
        append(store, 1)
        await publish_all(store, connection)
        first = await bus.subscribe(Subscription(name="mailer"), print)
        await until(lambda: first.position == 1)
        await first.stop()
        subject = f"$KV.{BUCKET}.{SETTINGS.name}.mailer.progress"
        await publish(connection, subject, b"\x00garbage", {})

        second = await bus.subscribe(Subscription(name="mailer"), print)
        with pytest.raises(PlaceLost, match="cannot be read"):
            await asyncio.wait_for(second.wait(), 60)
        await bus.reset("mailer", after=1)
        third = await bus.subscribe(Subscription(name="mailer"), print)
        await until(lambda: third.state == "running")
        await third.stop()


async def test_a_bucket_that_is_deleted_under_a_subscription_is_named(
    server: EmbeddedNats, store: EventStore
) -> None:
    async with connected(server.url) as connection:
        bus = nats_bus(connection, **NAMES)
        append(store, 1)
        await publish_all(store, connection)
        running = await bus.subscribe(Subscription(name="mailer"), print)
        await until(lambda: running.position == 1)
        await delete_stream(connection, f"KV_{BUCKET}")

        with pytest.raises(PlaceLost, match=f"bucket {BUCKET} was deleted"):
            await asyncio.wait_for(running.wait(), 60)


async def test_a_bucket_that_was_lost_while_nobody_ran_is_named_and_can_be_replaced(
    server: EmbeddedNats, store: EventStore
) -> None:
    """It would begin at its start, and handle every event once more."""
    handled: list[int] = []

    async def handle(event) -> None:
        handled.append(event.global_position)

    async with connected(server.url) as connection:
        append(store, 2)
        await publish_all(store, connection)
        first = await nats_bus(connection, **NAMES).subscribe(Subscription(name="mailer"), handle)
        await until(lambda: first.position == 2)
        await first.stop()
        await delete_stream(connection, f"KV_{BUCKET}")
        append(store, 1)
        await publish_all(store, connection)

        bus = nats_bus(connection, **NAMES)
        second = await bus.subscribe(Subscription(name="mailer"), handle)
        with pytest.raises(PlaceLost, match="is gone from NATS"):
            await asyncio.wait_for(second.wait(), 60)
        other = await bus.subscribe(Subscription(name="other"), print)
        await until(lambda: other.position == 3)
        await other.stop()
        await bus.reset("mailer", after=2)
        third = await bus.subscribe(Subscription(name="mailer"), handle)
        await until(lambda: third.position == 3)
        await third.stop()

    assert handled == [1, 2, 3]
