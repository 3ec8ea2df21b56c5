"""What is in the relay's way: it is named, ends nothing, and is gone on from when put right."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.domain.events import EventRow, Metadata, NewEvent, RecordedEvent
from eskit.domain.streams import ANY
from eskit.errors import InvalidArgument, MessagingError
from eskit.messaging.publisher import EventUnpublishable
from eskit.messaging.publisher_nats import JetStreamPublisher, nats_relay
from eskit.messaging.relay import Relay, RelayStatus
from eskit.messaging.skips import find_relay_skip, list_relay_skips, skip_in_relay
from eskit.messaging.stream_settings import StreamSettings
from eskit.nats.connection import Connection, connected
from eskit.nats.headers import encode_headers, source_of
from eskit.nats.jetstream import api, find_stream, publish
from eskit.nats.publishing import OutgoingMessage, PublishInterrupted, expect_last
from eskit.nats.server import EmbeddedNats
from eskit.store.eventstore import EventStore
from tests.messaging.conftest import StartServer, append, until
from tests.messaging.test_relay import positions, published
from tests.support.coded import coded

STREAM, PREFIX = StreamSettings().name, StreamSettings().prefix


def append_one(store: EventStore, *, size: int = 0, **custom: Any) -> None:
    event = NewEvent(StringValue(value="x" * size), metadata=Metadata(custom=custom))
    store.append("Account-1", [event], expected_version=ANY)


def recorded(position: int, event_id: str, stream: str = "Account-1") -> RecordedEvent:
    """An event whose id is made of a word."""
    row = position, stream, position, f"{event_id:16.16}".encode(), "google.protobuf.StringValue"
    return RecordedEvent(EventRow(*row, position, "", "", b""))


@asynccontextmanager
async def relaying(store: EventStore, url: str) -> AsyncIterator[tuple[Relay, list[RelayStatus]]]:
    told: list[RelayStatus] = []
    async with connected(url) as connection:
        relay = nats_relay(store, connection, app_name="bank", on_status=told.append)
        relay.LOOK_AGAIN = relay.WATCH_EVERY = 0.1
        stop = asyncio.Event()
        task = asyncio.create_task(relay.run(stop))
        try:
            yield relay, told
        finally:
            stop.set()
            await asyncio.wait_for(task, 20)


async def reconfigure(connection: Connection, **changes: Any) -> None:
    state = await find_stream(connection, STREAM)
    assert state is not None
    await api(connection, f"STREAM.UPDATE.{STREAM}", {**state.config, **changes})


@pytest.mark.promise("unpublishable-events-wait")
async def test_what_no_message_can_carry_is_skipped_by_decision_and_the_rest_goes_on(
    file_store: EventStore,
) -> None:
    append_one(file_store)
    append_one(file_store, size=5000)
    append_one(file_store)

    with EmbeddedNats(max_payload=2048) as server:
        async with relaying(file_store, server.url) as (relay, _):
            await until(lambda: relay.status.state == "blocked")
            before = await published(server.url, STREAM)
            problem = relay.status.error
            event = file_store.find_event(2)
            assert event is not None
            skip_in_relay(file_store, event, error="too large", reason="a video", by="alice")
            await until(lambda: (relay.status.state, relay.status.position) == ("idle", 3))
        after = await published(server.url, STREAM)
        async with connected(server.url) as connection:
            again = await nats_relay(file_store, connection, app_name="bank").run_once()

    (skip,) = list_relay_skips(file_store)
    assert problem.startswith("The event at position 2 of the log, in Account-1, cannot be")
    assert positions(before) == [1]
    assert positions(after) == [1, 3]
    assert (skip.position, skip.reason, skip.decided_by) == (2, "a video", "alice")
    assert (again.published, again.position) == (0, 3)


async def test_an_event_is_published_after_all_where_the_server_takes_it(
    file_store: EventStore, start_server: StartServer, tmp_path: Any
) -> None:
    append_one(file_store)
    append_one(file_store, size=5000)
    server = start_server(tmp_path / "nats", max_payload=2048)
    port = urlsplit(server.url).port

    async with relaying(file_store, server.url) as (relay, _):
        await until(lambda: relay.status.state == "blocked")
        await asyncio.to_thread(server.stop)
        server = await asyncio.to_thread(start_server, tmp_path / "nats", port=port)
        await until(lambda: (relay.status.state, relay.status.position) == ("idle", 2))

    assert positions(await published(server.url, STREAM)) == [1, 2]


async def test_an_event_is_published_to_the_last_byte_that_the_server_takes(
    file_store: EventStore,
) -> None:
    """In the middle of a batch it needs one header more; at the start of the next it fits."""
    largest = 4096
    for size in (
        0,
        largest - _around_payload(file_store),
        0,
        largest - _around_payload(file_store) + 1,
    ):
        append_one(file_store, size=size)

    with EmbeddedNats(max_payload=largest) as server:
        async with relaying(file_store, server.url) as (relay, _):
            await until(lambda: relay.status.state == "blocked")
            problem = relay.status.error
        messages = await published(server.url, STREAM)

    assert positions(messages) == [1, 2, 3]
    assert f"its message takes {largest + 1:,} bytes" in problem


def _around_payload(store: EventStore) -> int:
    """The bytes around the text of an event with a short position that begins a batch."""
    source = source_of("bank", store.store_id)
    event = EventRow(2, "Account-1", 2, bytes(16), "google.protobuf.StringValue", 1, "", "", b"")
    headers = encode_headers(RecordedEvent(event), source)
    expect_last(headers, 1)
    field = len(StringValue(value="x" * 1000).SerializeToString()) - 1000
    return OutgoingMessage("", headers, b"").header_size + field


async def test_headers_beyond_what_jetstream_takes_are_named(server: EmbeddedNats) -> None:
    """Appends are checked; an import of before may have kept more."""
    metadata = json.dumps({"custom": {"note": "x" * 70_000}})
    event = RecordedEvent(EventRow(7, "Account-1", 1, bytes(16), "a.v1.B", 1, "", metadata, b""))
    async with connected(server.url) as connection:
        publisher = JetStreamPublisher(connection, StreamSettings(), source="/bank/1")
        await publisher.open()

        with pytest.raises(EventUnpublishable, match="its headers take") as refused:
            await publisher.publish([event], after_sequence=0)

    assert "eskit relay --skip 7 --reason" in refused.value.hint


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        ("A" * 5000 + "-1", "too many for NATS"),
        ("An account-1", "is no NATS subject"),
        ("*-1", "is no NATS subject"),
        ("Account-1", ""),
        ("A" * 3900 + "-1", ""),
    ],
)
@pytest.mark.promise("unpublishable-events-wait")
async def test_a_subject_that_nats_does_not_take_is_named(
    server: EmbeddedNats, stream: str, reason: str
) -> None:
    async with connected(server.url) as connection:
        publisher = JetStreamPublisher(connection, StreamSettings(), source="/bank/1")
        await publisher.open()
        event = recorded(1, "id", stream)

        obstacle = publisher.find_obstacle(event)
        if not reason:
            assert await publisher.publish([event], after_sequence=0) == 1

    assert obstacle.endswith(reason)
    assert bool(obstacle) == bool(reason)


async def test_metadata_that_is_no_text_stops_nobody(server: EmbeddedNats) -> None:
    metadata = json.dumps({"custom": {"traceparent": 5}})
    event = RecordedEvent(EventRow(1, "Account-1", 1, bytes(16), "a.v1.B", 1, "", metadata, b""))
    async with connected(server.url) as connection:
        publisher = JetStreamPublisher(connection, StreamSettings(), source="/bank/1")
        await publisher.open()

        assert await publisher.publish([event], after_sequence=0) == 1


@pytest.mark.promise("unpublishable-events-wait")
async def test_an_event_with_the_id_of_an_earlier_one_is_named_and_published(
    server: EmbeddedNats, caplog: pytest.LogCaptureFixture
) -> None:
    events = [recorded(1, "one"), recorded(2, "one"), recorded(3, "three"), recorded(4, "one")]
    async with connected(server.url) as connection:
        publisher = JetStreamPublisher(connection, StreamSettings(), source="/bank/1")
        await publisher.open()
        sequence = 0

        with caplog.at_level(logging.WARNING, "eskit.relay"):
            while sequence < 4:
                sequence = await publisher.publish(events[sequence:], after_sequence=sequence)
        messages = await published(server.url, STREAM)

    assert positions(messages) == [1, 2, 3, 4]
    one, _, three, _ = (event.event_id for event in events)
    assert [message.headers["ce-id"] for message in messages] == [one, one, three, one]
    assert [message.headers["Nats-Msg-Id"] for message in messages] == [
        *(one, f"{one}@2", three, f"{one}@4")
    ]
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "The event at position 2 has the id of the event at position 1",
        "The event at position 4 has the id of the event at position 1",
    ]


async def test_an_event_that_another_relay_has_published_meanwhile_is_not_published_twice(
    server: EmbeddedNats,
) -> None:
    async with connected(server.url) as connection, connected(server.url) as other:
        ours = JetStreamPublisher(connection, StreamSettings(), source="/bank/1")
        theirs = JetStreamPublisher(other, StreamSettings(), source="/bank/1")
        await ours.open()
        await theirs.open()
        await theirs.publish([recorded(1, "one")], after_sequence=0)

        with pytest.raises(PublishInterrupted):
            await ours.publish([recorded(1, "one")], after_sequence=0)

        assert positions(await published(server.url, STREAM)) == [1]


@pytest.mark.parametrize(
    ("changed", "back", "told"),
    [
        ({"retention": "interest"}, {"retention": "limits"}, "retention is interest, not limits"),
        ({"max_msgs_per_subject": 1}, {"max_msgs_per_subject": -1}, "max_msgs_per_subject is 1"),
    ],
)
@pytest.mark.promise("unpublishable-events-wait")
async def test_a_stream_that_is_changed_while_the_relay_runs_is_noticed(
    file_store: EventStore,
    server: EmbeddedNats,
    changed: dict[str, Any],
    back: dict[str, Any],
    told: str,
) -> None:
    append(file_store, 3)
    async with relaying(file_store, server.url) as (relay, _), connected(server.url) as other:
        await until(lambda: relay.status.state == "idle")

        await reconfigure(other, **changed)
        await until(lambda: relay.status.state == "blocked")
        problem = relay.status.error
        await reconfigure(other, **back)
        await until(lambda: relay.status.state == "idle")

    assert told in problem


@pytest.mark.promise("unpublishable-events-wait")
async def test_a_stream_that_takes_no_more_is_said_to_be_full(
    file_store: EventStore, server: EmbeddedNats
) -> None:
    append(file_store, 1)
    async with relaying(file_store, server.url) as (relay, _), connected(server.url) as other:
        await until(lambda: relay.status.state == "idle")
        await reconfigure(other, discard="new", max_msgs=2)
        append(file_store, 3)

        await until(lambda: relay.status.state == "blocked")
        problem = relay.status.error
        await reconfigure(other, max_msgs=-1)
        await until(lambda: (relay.status.state, relay.status.position) == ("idle", 4))

    assert f"Stream {STREAM} takes no more events: maximum messages exceeded" in problem
    assert positions(await published(server.url, STREAM)) == [1, 2, 3, 4]


async def test_a_foreign_message_is_put_right_by_publishing_the_log_again(
    file_store: EventStore, server: EmbeddedNats
) -> None:
    append(file_store, 3)
    async with relaying(file_store, server.url) as (relay, _), connected(server.url) as other:
        await until(lambda: relay.status.state == "idle")
        await publish(other, f"{PREFIX}.Account.forged", b"?", {})
        append(file_store, 1)
        await until(lambda: relay.status.state == "blocked")
        problem = relay.status.problem
        while True:  # the relay holds its lease whenever it looks
            with contextlib.suppress(MessagingError):
                await nats_relay(file_store, other, app_name="bank").republish()
                break
        await until(lambda: relay.status.state == "idle")

    assert problem.code == "BROKER_MISMATCH"
    assert f"Message 4 of stream {STREAM} was not published by a relay" in str(problem)
    assert "eskit relay --republish" in problem.hint
    assert positions(await published(server.url, STREAM)) == [1, 2, 3, 4]


async def test_a_stream_of_foreign_messages_only_is_never_emptied(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 1)
    async with connected(server.url) as connection:
        await connection.jetstream().add_stream(
            name=STREAM, subjects=[f"{PREFIX}.>", f"tenants.*.{PREFIX}.>"]
        )
        await publish(connection, f"{PREFIX}.Account.forged", b"?", {})

        with pytest.raises(
            MessagingError, check=coded("BROKER_MISMATCH"), match="was not published by a relay"
        ):
            await nats_relay(store, connection, app_name="bank").republish()

        assert len(await published(server.url, STREAM)) == 1


async def test_an_outage_is_told_of_once_and_so_is_its_end(
    file_store: EventStore, start_server: StartServer, tmp_path: Any
) -> None:
    append(file_store, 1)
    server = start_server(tmp_path / "nats")
    port = urlsplit(server.url).port
    async with relaying(file_store, server.url) as (relay, told):
        await until(lambda: relay.status.state == "idle")
        told.clear()

        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: relay.status.state == "away")
        await asyncio.sleep(2)  # some tries long
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(start_server, tmp_path / "nats", port=port)
        await until(lambda: relay.status.state == "idle")

    assert [status.state for status in told if status.error][1:] == []
    assert [status.state for status in told] == ["away", "idle", "stopped"]


@pytest.mark.promise("unpublishable-events-wait")
def test_a_skip_is_decided_once_and_is_about_that_event(store: EventStore) -> None:
    append(store, 1)
    event = store.find_event(1)
    assert event is not None

    skip = skip_in_relay(store, event, error="too large", reason="test data", by="alice")

    with pytest.raises(InvalidArgument, match="skipped already"):
        skip_in_relay(store, event, error="too large", reason="again", by="bob")
    assert find_relay_skip(store, event) == skip
    assert find_relay_skip(store, recorded(1, "another event")) is None
