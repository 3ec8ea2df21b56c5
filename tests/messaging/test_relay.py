"""The relay: every event of the log once in the JetStream stream, in order, whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nats
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.domain.events import Metadata, NewEvent, RecordedEvent
from eskit.domain.streams import ANY
from eskit.errors import BrokerUnavailable, MessagingError
from eskit.messaging.publisher import EventUnpublishable
from eskit.messaging.publisher_nats import JetStreamPublisher, nats_relay
from eskit.messaging.relay import Relay, RelayStatus
from eskit.messaging.stream_settings import StreamSettings
from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_nats import nats_bus
from eskit.messaging.tail import TailRequest
from eskit.messaging.tail_nats import tail_nats
from eskit.nats.connection import Connection, connected
from eskit.nats.headers import source_of
from eskit.nats.jetstream import last_message
from eskit.nats.publishing import PublishInterrupted
from eskit.nats.server import EmbeddedNats
from eskit.processes.holding import find_holder
from eskit.store.eventstore import EventStore
from eskit.store.open import open_store
from eskit.store.records import RELAY_CHECKPOINT
from tests.messaging.conftest import StartServer, append, until
from tests.support.coded import coded

CHILD = """
import asyncio, sys
from eskit.nats.connection import open_nats
from eskit.messaging.publisher_nats import nats_relay
from eskit.store.open import open_store
from eskit.store.records import RELAY_CHECKPOINT
async def main():
    store = open_store(sys.argv[1])
    relay = nats_relay(store, await open_nats(sys.argv[2]), app_name="bank")
    relay.BATCH = 50
    await relay.run(asyncio.Event())
asyncio.run(main())
"""


async def published(url: str, stream: str = "ESKIT_EVENTS") -> list[Any]:
    """Everything in the stream, read with nothing but nats-py."""
    connection = await nats.connect(url, allow_reconnect=False, connect_timeout=5)
    try:
        jetstream = connection.jetstream()
        total = (await jetstream.stream_info(stream)).state.messages
        if not total:
            return []
        subscription = await jetstream.subscribe("", stream=stream, ordered_consumer=True)
        return [await subscription.next_msg(timeout=5) for _ in range(total)]
    finally:
        await connection.close()


def positions(messages: list[Any]) -> list[int]:
    return [int(message.headers["ce-globalposition"]) for message in messages]


def log_of(store: EventStore) -> list[int]:
    return [event.global_position for event in store.read_all()]


def make_relay(
    store: EventStore,
    connection: Connection,
    *,
    locked: bool = True,
    on_status: Callable[[RelayStatus], None] | None = None,
    **settings: Any,
) -> Relay:
    """A relay, also one that does without the lock that keeps a second one away."""
    publisher = JetStreamPublisher(
        connection, StreamSettings(**settings), source=source_of("bank", store.store_id)
    )
    return Relay(
        store, publisher, lock=store.lock("relay") if locked else None, on_status=on_status
    )


@asynccontextmanager
async def running_relay(store: EventStore, url: str, **options: Any) -> AsyncIterator[Relay]:
    async with connected(url) as connection:
        relay = make_relay(store, connection, **options)
        stop = asyncio.Event()
        task = asyncio.create_task(relay.run(stop))
        try:
            yield relay
        finally:
            stop.set()
            await asyncio.wait_for(task, 20)


async def until_published(url: str, store: EventStore, within: float = 60) -> list[Any]:
    """What the stream holds once it holds the whole log, or after `within` seconds."""
    head = store.head_position()
    deadline = time.monotonic() + within
    while True:
        try:
            messages = await published(url)
            if positions(messages)[-1:] == [head] or time.monotonic() > deadline:
                return messages
        except Exception:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def relay_once(store: EventStore, url: str, **options: Any) -> int:
    async with connected(url) as connection:
        return (await make_relay(store, connection, **options).run_once()).published


async def test_a_bare_consumer_reads_headers_and_payload(
    store: EventStore, server: EmbeddedNats
) -> None:
    """The wire format is a standard one that a bare client with the proto reads."""
    append(store, 3)

    await relay_once(store, server.url)
    messages = await published(server.url)

    first = next(store.read_all())
    assert len(messages) == 3
    assert messages[0].subject == "eskit.events.Account.google.protobuf.StringValue"
    assert StringValue.FromString(messages[0].data).value == "event 0"
    assert messages[0].headers["ce-source"] == f"/bank/{store.store_id}"
    assert messages[0].headers["ce-id"] == first.event_id
    assert messages[0].headers["ce-subject"] == "Account-0"
    assert messages[0].headers["ce-correlationid"] == "corr%200"


async def test_a_second_run_publishes_only_what_is_new(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 2500)

    counts = [await relay_once(store, server.url), await relay_once(store, server.url)]
    append(store, 3)
    counts.append(await relay_once(store, server.url))

    assert counts == [2500, 0, 3]
    assert positions(await published(server.url)) == log_of(store)


@pytest.mark.promise("stored-events-are-usable")
async def test_the_longest_names_and_metadata_that_a_store_takes_can_be_published(
    server: EmbeddedNats, store: EventStore
) -> None:
    stream = "A" * 255 + "-" + "\U0001f600" * 255
    metadata = Metadata(
        correlation_id="\u00e9" * 255,
        custom={"traceparent": '"' * 512, "own": "\U0001f600" * 3_500},
    )
    tenant = "t" + "." * 62
    new = NewEvent(StringValue(value="a"), metadata=metadata)
    store.for_tenant(tenant).append(stream, [new], expected_version=ANY)

    async with connected(server.url, name="test") as connection:
        report = await nats_relay(store, connection, app_name="bank").run_once()

    (message,) = await published(server.url)
    assert report.published == 1
    assert message.headers["ce-id"] == new.event_id


async def test_the_checkpoint_names_the_last_published_event(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 3)

    await relay_once(store, server.url)

    checkpoint = store.find_checkpoint(RELAY_CHECKPOINT)
    last = next(store.read_all(backward=True))
    assert checkpoint is not None
    assert (checkpoint.position, checkpoint.event_id) == (last.global_position, last.event_id)


async def test_a_running_relay_publishes_what_is_appended_at_once(
    store: EventStore, server: EmbeddedNats
) -> None:
    """The log is the outbox, so what is stored reaches the broker."""
    async with running_relay(store, server.url) as relay:
        append(store, 20)
        messages = await until_published(server.url, store)

    assert positions(messages) == log_of(store)
    assert relay.status.state == "stopped"
    assert relay.status.position == store.head_position()


async def test_events_of_tenants_have_subjects_of_their_own(
    store: EventStore, server: EmbeddedNats
) -> None:
    """The tenant is part of the subject."""
    append(store, 1, tenant="acme.eu")

    await relay_once(store, server.url)

    (message,) = await published(server.url)
    assert message.subject == "tenants.acme%2Eeu.eskit.events.Account.google.protobuf.StringValue"
    assert message.headers["ce-tenant"] == "acme.eu"


async def test_stream_and_prefix_can_be_chosen_for_relay_tail_and_bus_alike(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 3)
    append(store, 2, tenant="acme")
    chosen = {"stream": "FACTS", "prefix": "bank.facts"}
    handled: list[int] = []

    async def handle(event: RecordedEvent) -> None:
        handled.append(event.global_position)

    await relay_once(store, server.url, name="FACTS", prefix="bank.facts")
    async with connected(server.url) as connection:
        request = TailRequest(start="first", follow=False)
        tailed = [event async for event in tail_nats(connection, request, **chosen)]
        subscriber = await nats_bus(connection, **chosen).subscribe(
            Subscription(name="chosen"), handle
        )
        await until(lambda: len(handled) == 5)
        await subscriber.stop()
        message = await connection.jetstream().get_last_msg("FACTS", "tenants.acme.bank.facts.>")

    assert tailed == list(store.read_all())
    assert sorted(handled) == [1, 2, 3, 4, 5]
    assert message.subject is not None
    assert message.subject.startswith("tenants.acme.bank.facts.Account.")


async def test_the_trace_context_of_a_command_goes_on_to_consumers(
    store: EventStore, server: EmbeddedNats
) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    metadata = Metadata(custom={"traceparent": parent})
    store.append("Account-1", [NewEvent(StringValue(), metadata=metadata)], expected_version=ANY)

    await relay_once(store, server.url)
    (message,) = await published(server.url)

    assert message.headers["traceparent"] == parent


@pytest.mark.promise("streams-belong-to-one-store")
async def test_the_stream_of_another_store_is_refused(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 2)
    await relay_once(store, server.url)

    with open_store("memory://") as other:
        append(other, 5)
        with pytest.raises(
            MessagingError, check=coded("BROKER_MISMATCH"), match="is fed by /bank/"
        ):
            await relay_once(other, server.url)

    assert len(await published(server.url)) == 2


@pytest.mark.promise("streams-belong-to-one-store")
async def test_a_stream_that_somebody_else_writes_to_is_refused(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 1)
    await relay_once(store, server.url)
    connection = await nats.connect(server.url)
    await connection.jetstream().publish("eskit.events.Account.made.up", b"?")
    await connection.close()

    with pytest.raises(
        MessagingError, check=coded("BROKER_MISMATCH"), match="was not published by a relay"
    ):
        await relay_once(store, server.url)


@pytest.mark.parametrize("batches_before", [0, 1])
@pytest.mark.promise("streams-belong-to-one-store")
async def test_somebody_else_who_writes_in_between_stops_the_relay_and_leaves_no_gap(
    store: EventStore,
    server: EmbeddedNats,
    monkeypatch: pytest.MonkeyPatch,
    batches_before: int,
) -> None:
    append(store, 200)
    batches = 0
    publish = JetStreamPublisher.publish

    async def publish_after_another(publisher: Any, events: Any, **options: Any) -> int:
        nonlocal batches
        if batches == batches_before:
            await other.jetstream().publish("eskit.events.Account.foreign", b"")
        batches += 1
        return await publish(publisher, events, **options)

    monkeypatch.setattr(JetStreamPublisher, "publish", publish_after_another)
    monkeypatch.setattr(Relay, "BATCH", 50)

    async with connected(server.url) as connection, connected(server.url) as other:
        relay = nats_relay(store, connection, app_name="bank")
        with pytest.raises(PublishInterrupted):
            await relay.run_once()
        with pytest.raises(
            MessagingError, check=coded("BROKER_MISMATCH"), match="was not published by a relay"
        ):
            await relay.run_once()
        messages = await published(server.url)

    assert messages[-1].subject == "eskit.events.Account.foreign"
    assert positions(messages[:-1]) == list(range(1, 50 * batches_before + 1))


async def test_a_stream_with_work_queue_retention_is_refused_with_what_differs(
    store: EventStore, server: EmbeddedNats
) -> None:
    """Settings of an existing stream are compared, not ignored."""
    connection = await nats.connect(server.url)
    await connection.jetstream().add_stream(
        name="ESKIT_EVENTS", subjects=["eskit.events.>"], retention="workqueue"
    )
    await connection.close()

    with pytest.raises(
        MessagingError, check=coded("BROKER_MISMATCH"), match="retention is workqueue, not limits"
    ) as caught:
        await relay_once(store, server.url)

    assert "does not listen to tenants.*.eskit.events.>" in str(caught.value)


async def test_a_log_restored_to_an_earlier_state_is_noticed(
    tmp_path: Path, server: EmbeddedNats
) -> None:
    with open_store(f"sqlite:///{tmp_path}/log.db") as store:
        append(store, 2)
    backup = (tmp_path / "log.db").read_bytes()
    with open_store(f"sqlite:///{tmp_path}/log.db") as store:
        append(store, 2)
        await relay_once(store, server.url)
    (tmp_path / "log.db").write_bytes(backup)

    with (
        open_store(f"sqlite:///{tmp_path}/log.db") as store,
        pytest.raises(
            MessagingError,
            check=coded("BROKER_MISMATCH"),
            match="at position 4, the log has nothing there",
        ) as caught,
    ):
        await relay_once(store, server.url)

    assert "restored or replaced" in caught.value.hint


async def test_an_aged_out_stream_goes_on_from_the_checkpoint(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 4)
    await relay_once(store, server.url)
    await purge(server.url)

    append(store, 2)
    count = await relay_once(store, server.url)

    assert count == 2
    assert positions(await published(server.url)) == log_of(store)[4:]


async def test_an_empty_stream_that_is_not_the_one_of_the_checkpoint_is_refused(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 4)
    await relay_once(store, server.url)
    with EmbeddedNats() as another:
        await relay_once(store, another.url)
    await purge(server.url)

    with pytest.raises(
        MessagingError, check=coded("BROKER_MISMATCH"), match="empty but was used before"
    ):
        await relay_once(store, server.url)


@pytest.mark.promise("lost-streams-are-refilled")
async def test_a_lost_stream_is_filled_again_from_the_log(store: EventStore) -> None:
    append(store, 4)
    with EmbeddedNats() as lost:
        await relay_once(store, lost.url)

    with EmbeddedNats() as fresh:
        assert await relay_once(store, fresh.url) == 4
        assert positions(await published(fresh.url)) == log_of(store)


async def test_republish_replaces_what_the_stream_holds(
    store: EventStore, server: EmbeddedNats
) -> None:
    append(store, 4)
    await relay_once(store, server.url)

    async with connected(server.url) as connection:
        report = await nats_relay(store, connection, app_name="bank").republish()

    assert report.published == 4
    assert positions(await published(server.url)) == log_of(store)


@pytest.mark.promise("published-once-in-order")
async def test_a_server_that_restarts_in_the_middle_loses_and_doubles_nothing(
    file_store: EventStore, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server(tmp_path / "nats")
    port = urlsplit(server.url).port or 0
    states: list[str] = []

    async with running_relay(
        file_store, server.url, on_status=lambda status: states.append(status.state)
    ):
        append(file_store, 300)
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(server.pid, number)
            await asyncio.to_thread(append, file_store, 300)
            await asyncio.to_thread(server.stop)
            server = await asyncio.to_thread(start_server, tmp_path / "nats", port=port)
            await asyncio.to_thread(append, file_store, 300)
        messages = await until_published(server.url, file_store)

    assert positions(messages) == log_of(file_store)
    assert "away" in states


@pytest.mark.promise("published-once-in-order")
async def test_a_killed_relay_goes_on_without_gap_or_duplicate(
    file_store: EventStore, server: EmbeddedNats
) -> None:
    append(file_store, 3000)

    for moment in (0.02, 0.05, 0.1, 0.2, 0.3):
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CHILD, file_store.url, server.url)
        )
        await asyncio.sleep(0.4 + moment)
        child.kill()
        await child.wait()
    await relay_once(file_store, server.url)

    assert positions(await published(server.url)) == log_of(file_store)


@pytest.mark.promise("published-once-in-order")
async def test_two_relays_at_once_publish_every_event_once(
    file_store: EventStore, server: EmbeddedNats
) -> None:
    append(file_store, 500)

    # the lock keeps relays apart on one machine only: without it nothing may go wrong either
    async with (
        running_relay(file_store, server.url, locked=False),
        running_relay(file_store, server.url, locked=False),
    ):
        await asyncio.to_thread(append, file_store, 1000)
        messages = await until_published(server.url, file_store)

    assert positions(messages) == log_of(file_store)


@pytest.mark.promise("one-relay-is-active")
async def test_one_relay_is_active_and_a_standby_takes_over(
    file_store: EventStore, server: EmbeddedNats
) -> None:
    append(file_store, 10)

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running_relay(file_store, server.url))
        await until_published(server.url, file_store)
        async with running_relay(file_store, server.url) as second:
            await until(lambda: second.status.state == "standby")
            with pytest.raises(
                MessagingError, check=coded("RELAY_BUSY"), match=f"process {os.getpid()}"
            ):
                await relay_once(file_store, server.url)
            await stack.aclose()
            append(file_store, 10)
            await until(lambda: second.status.state == "idle" and second.status.position == 20)
    messages = await published(server.url)

    assert first.status.state == "stopped"
    assert positions(messages) == log_of(file_store)


def test_a_store_has_one_lock_of_its_relay_whatever_links_lead_to_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "folder" / "log.db")
    with (
        open_store(f"sqlite:///{tmp_path}/folder/log.db") as store,
        open_store(f"sqlite:///{tmp_path}/link.db") as linked,
    ):
        lock = store.lock("relay")
        assert lock.acquire()

        assert not linked.lock("relay").acquire()

        lock.release()


@pytest.mark.promise("one-relay-is-active")
async def test_a_killed_relay_leaves_its_lock_to_the_next(
    file_store: EventStore, server: EmbeddedNats
) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD, file_store.url, server.url)
    )
    lock = file_store.lock("relay")
    await until(lambda: (holder := find_holder(lock)) and holder.pid)
    holder = find_holder(lock)
    child.kill()
    await child.wait()

    assert holder is not None
    assert holder.pid == child.pid
    assert find_holder(lock) is None
    assert lock.acquire()
    lock.release()


@pytest.mark.promise("published-once-in-order")
async def test_a_relay_that_looks_while_another_publishes_leaves_nothing_out(
    file_store: EventStore, server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(file_store, 10)
    await relay_once(file_store, server.url)
    looks = []

    async def look_late(*arguments: Any) -> Any:
        looks.append(arguments)
        if len(looks) == 1:  # between one relay's two looks another publishes, and more comes
            append(file_store, 5)
            await relay_once(file_store, server.url, locked=False)
            append(file_store, 20)
        return await last_message(*arguments)

    monkeypatch.setattr("eskit.messaging.publisher_nats.last_message", look_late)

    async with running_relay(file_store, server.url), asyncio.timeout(20):
        while file_store.head_position() < 35:  # noqa: ASYNC110 - waits for what a relay does
            await asyncio.sleep(0.01)
        messages = await until_published(server.url, file_store)

    assert positions(messages) == log_of(file_store)


async def test_a_broker_that_cannot_be_reached_is_a_clear_error() -> None:
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1 cannot be reached"):
        async with connected("nats://127.0.0.1:1"):
            pass


@pytest.mark.parametrize("size", [5000, 950])
async def test_an_event_too_large_for_the_broker_is_named(store: EventStore, size: int) -> None:
    event = NewEvent(StringValue(value="x" * size))
    store.append("Account-1", [event], expected_version=ANY)

    with (
        EmbeddedNats(max_payload=1024) as server,
        pytest.raises(EventUnpublishable, match="at position 1 of the log, in Account-1, cannot"),
    ):
        await relay_once(store, server.url)


async def purge(url: str) -> None:
    connection = await nats.connect(url)
    answer = await connection.request("$JS.API.STREAM.PURGE.ESKIT_EVENTS", b"")
    assert json.loads(answer.data)["success"]
    await connection.close()
