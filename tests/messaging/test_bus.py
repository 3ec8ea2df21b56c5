"""What every event bus promises: in this process and over a real nats-server."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import Int32Value

from eskit.domain.events import NewEvent, RecordedEvent
from eskit.domain.streams import ANY
from eskit.errors import (
    DeliveryFailed,
    InvalidArgument,
    NotFound,
    ServiceError,
    SubscriptionTaken,
)
from eskit.messaging import follower_status
from eskit.messaging import subscriber as subscriber_module
from eskit.messaging.bus import EventBus, memory_bus
from eskit.messaging.publisher_nats import nats_relay
from eskit.messaging.subscription import DeadLetter, EventHandler, Subscription
from eskit.messaging.subscriptions_nats import nats_bus
from eskit.messaging.subscriptions_store import store_bus
from eskit.nats.connection import connected
from eskit.store.eventstore import EventStore
from tests.messaging.conftest import append, until


class Seen:
    """A handler that notes positions; those in `failing` raise."""

    def __init__(self, failing: dict[int, int] | None = None) -> None:
        self.positions: list[int] = []
        self.attempts: list[int] = []
        self.failing = dict(failing or {})

    async def __call__(self, event: RecordedEvent) -> None:
        position = event.global_position
        self.attempts.append(position)
        if self.failing.get(position, 0) > 0:
            self.failing[position] -= 1
            raise RuntimeError(f"no {position}")
        self.positions.append(position)

    async def until(self, count: int, within: float = 90) -> None:
        deadline = time.monotonic() + within
        while len(self.positions) < count:
            assert time.monotonic() < deadline, f"only {self.positions}"
            await asyncio.sleep(0.01)


Made = Callable[[], Any]


@pytest.fixture(params=["memory", "store", "nats"])
def open_bus(request: pytest.FixtureRequest, store: EventStore) -> Made:
    """Opens a bus over the store; for NATS with a relay at work."""
    if request.param != "nats":
        bus = memory_bus(store) if request.param == "memory" else store_bus(store)

        @asynccontextmanager
        async def open_memory() -> AsyncIterator[EventBus]:
            yield bus

        return open_memory
    server = request.getfixturevalue("server")

    @asynccontextmanager
    async def open_nats() -> AsyncIterator[EventBus]:
        async with connected(server.url) as connection:
            stop = asyncio.Event()
            relay = asyncio.create_task(nats_relay(store, connection, app_name="bank").run(stop))
            yield nats_bus(connection)
            stop.set()
            await relay

    return open_nats


@asynccontextmanager
async def following(
    bus: EventBus, handler: EventHandler, name: str = "test", **options: Any
) -> AsyncIterator[Any]:
    subscriber = await bus.subscribe(
        Subscription(name=name, **{"backoff": (0.02,), **options}), handler
    )
    try:
        yield subscriber
    finally:
        await subscriber.stop()


async def buried(bus: EventBus) -> list[DeadLetter]:
    """The dead letters, once there are any."""
    async with asyncio.timeout(30):
        while not (letters := await bus.dead_letters.waiting("test")):  # noqa: ASYNC110 - of a task
            await asyncio.sleep(0.01)
    return letters


async def test_every_event_is_handled_in_the_order_of_its_stream(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 200)
    by_stream: dict[str, list[int]] = {}
    seen = Seen()

    async def handle(event: RecordedEvent) -> None:
        await asyncio.sleep(0.001 * (event.global_position % 3))
        by_stream.setdefault(event.stream, []).append(event.version)
        await seen(event)

    async with open_bus() as bus, following(bus, handle):
        await seen.until(200)

    assert sorted(seen.positions) == list(range(1, 201))
    assert all(versions == sorted(versions) for versions in by_stream.values())


async def test_a_name_goes_on_where_it_ended(open_bus: Made, store: EventStore) -> None:
    """Nothing appended while a subscription is down is lost to it."""
    first, second = Seen(), Seen()
    append(store, 5)

    async with open_bus() as bus:
        async with following(bus, first):
            await first.until(5)
        append(store, 5)
        async with following(bus, second):
            await second.until(5)
            await asyncio.sleep(0.1)

    assert sorted(second.positions) == [6, 7, 8, 9, 10]


async def test_two_names_each_handle_everything(open_bus: Made, store: EventStore) -> None:
    one, two = Seen(), Seen()
    append(store, 5)

    async with open_bus() as bus, following(bus, one, "one"), following(bus, two, "two"):
        await one.until(5)
        await two.until(5)

    assert sorted(one.positions) == sorted(two.positions) == [1, 2, 3, 4, 5]


async def test_filters_are_kept(open_bus: Made, store: EventStore) -> None:
    """What does not match is never handled, whatever the shape of the filter."""
    append(store, 4, streams=2)
    store.append("Customer-1", [NewEvent(Int32Value())], expected_version=ANY)
    append(store, 1, tenant="acme")
    filters: dict[str, dict[str, Any]] = {
        "type": {"event_types": ["google.protobuf.Int32Value"]},
        "aggregate": {"aggregates": ["Customer"]},
        "stream": {"stream": "Account-1"},
        "tenant": {"tenants": ["acme"]},
        "both": {"aggregates": ["Account"], "event_types": ["Int32Value"]},
    }
    seen = {name: Seen() for name in filters}

    async with open_bus() as bus:
        for name, options in filters.items():
            async with following(bus, seen[name], name, **options):
                await asyncio.sleep(0.4)

    assert {name: sorted(handler.positions) for name, handler in seen.items()} == {
        "type": [5],
        "aggregate": [5],
        "stream": [2, 4],
        "tenant": [6],
        "both": [],
    }


async def test_a_subscription_starts_where_it_is_told(open_bus: Made, store: EventStore) -> None:
    append(store, 3)
    await asyncio.sleep(0.01)
    between = datetime.now(UTC)
    append(store, 2)
    after, since, new = Seen(), Seen(), Seen()

    async with open_bus() as bus:
        async with (
            following(bus, after, "after", start=2),
            following(bus, since, "since", start=between),
        ):
            await after.until(3)
            await since.until(2)
        async with following(bus, new, "new", start="new"):
            await asyncio.sleep(0.3)
            append(store, 1)
            await new.until(1)

    assert sorted(after.positions) == [3, 4, 5]
    assert sorted(since.positions) == [4, 5]
    assert new.positions == [6]


async def test_a_failing_event_holds_up_its_stream_and_no_other(
    open_bus: Made, store: EventStore
) -> None:
    """Order within a stream is kept while one of its events is retried."""
    append(store, 6, streams=2)
    seen = Seen(failing={1: 3})

    async with open_bus() as bus, following(bus, seen):
        await seen.until(6)

    odd = [position for position in seen.positions if position % 2]
    assert odd == [1, 3, 5]
    assert seen.positions.index(2) < seen.positions.index(1)
    assert seen.attempts.count(1) == 4


@pytest.mark.promise("subscriptions-are-at-least-once")
async def test_an_event_that_always_fails_becomes_a_dead_letter(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 3, streams=1)
    seen = Seen(failing={2: 1000})

    async with open_bus() as bus:
        async with following(bus, seen, max_deliveries=3):
            await seen.until(2)
        (letter,) = await bus.dead_letters.waiting("test")

        assert await bus.dead_letters.waiting("other") == []
        assert await bus.dead_letters.names() == ["test"]
    assert seen.positions == [1, 3]
    assert seen.attempts.count(2) == 3
    assert letter.event == store.find_event(2)
    assert (letter.error, letter.deliveries) == ("RuntimeError: no 2", 3)
    assert letter.traceback.endswith("RuntimeError: no 2\n")


async def test_an_error_that_will_not_pass_is_not_tried_again(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 3, streams=1)
    seen = Seen(failing={2: 1000})

    async with open_bus() as bus:
        async with following(bus, seen, backoff=(60.0,), give_up_on=(OSError, RuntimeError)):
            await seen.until(2)
        (letter,) = await bus.dead_letters.waiting("test")

    assert seen.attempts == [1, 2, 3]
    assert letter.deliveries == 1


@pytest.mark.promise("dead-letters-wait")
async def test_a_dead_letter_is_retried_until_it_works_and_says_who_did_it(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 1)
    seen = Seen(failing={1: 1000})

    async with open_bus() as bus:
        async with following(bus, seen, max_deliveries=2):
            await buried(bus)
        (first,) = await bus.dead_letters.waiting("test")
        with pytest.raises(DeliveryFailed, match="RuntimeError: no 1"):
            await bus.dead_letters.retry(first, seen, reason="try")
        (again,) = await bus.dead_letters.waiting("test")
        seen.failing.clear()
        await bus.dead_letters.retry(again, seen, reason="mended", by="alice")
        (settled,) = await bus.dead_letters.history("test")

        assert await bus.dead_letters.waiting("test") == []
        with pytest.raises(NotFound, match="waits for a decision"):
            await bus.dead_letters.retry(again, seen, reason="try")
    assert again.deliveries == 3
    assert seen.positions == [1]
    assert settled.decision is not None
    assert (settled.decision.action, settled.decision.reason) == ("retried", "mended")
    assert settled.decision.decided_by == "alice"


async def test_a_skipped_dead_letter_is_kept_with_the_reason(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 1)
    seen = Seen(failing={1: 1000})

    async with open_bus() as bus:
        async with following(bus, seen, max_deliveries=1):
            await buried(bus)
        letter = await bus.dead_letters.load("test", "1")
        with pytest.raises(InvalidArgument, match="needs a reason"):
            await bus.dead_letters.skip(letter, reason=" ")
        await bus.dead_letters.skip(letter, reason="test data", by="bob")
        (settled,) = await bus.dead_letters.history("test")

        assert await bus.dead_letters.waiting("test") == []
    assert settled.decision is not None
    assert (settled.decision.action, settled.decision.reason) == ("skipped", "test data")
    assert settled.event == letter.event


@pytest.mark.promise("dead-letters-wait")
async def test_of_two_decisions_at_once_one_counts(open_bus: Made, store: EventStore) -> None:
    append(store, 1)
    seen = Seen(failing={1: 1000})

    async with open_bus() as bus:
        async with following(bus, seen, max_deliveries=1):
            await buried(bus)
        letter = await bus.dead_letters.load("test", "1")

        async def decided_by_another(event: RecordedEvent) -> None:
            await bus.dead_letters.skip(letter, reason="mine", by="bob")

        with pytest.raises(SubscriptionTaken, match="has another decision"):
            await bus.dead_letters.retry(letter, decided_by_another, reason="try", by="alice")
        (settled,) = await bus.dead_letters.history("test")

    assert settled.decision is not None
    assert settled.decision.decided_by == "bob"


async def test_stopping_finishes_what_is_being_handled_and_no_more(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 10, streams=1)
    started = asyncio.Event()
    handled: list[int] = []
    rest = Seen()

    async def slow(event: RecordedEvent) -> None:
        started.set()
        await asyncio.sleep(0.2)
        handled.append(event.global_position)

    async with open_bus() as bus:
        async with following(bus, slow):
            await started.wait()
        assert handled == [1]
        async with following(bus, rest):
            await rest.until(9)

    assert rest.positions == list(range(2, 11))


async def test_what_was_handled_out_of_order_is_not_handled_again(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 6, streams=2)
    first, second = Seen(failing={1: 1000}), Seen()

    async with open_bus() as bus:
        async with following(bus, first, max_deliveries=1000):
            await first.until(3)
        async with following(bus, second):
            await second.until(3)
            await asyncio.sleep(0.1)

    assert sorted(first.positions) == [2, 4, 6]
    assert sorted(second.positions) == [1, 3, 5]


async def test_plain_functions_run_in_threads_and_at_the_same_time(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 8, streams=8)
    threads: set[int] = set()
    barrier = threading.Barrier(4)
    seen = Seen()

    def handle(event: RecordedEvent) -> None:
        barrier.wait(5)
        threads.add(threading.get_ident())
        seen.positions.append(event.global_position)

    async with open_bus() as bus, following(bus, handle, max_concurrent=4):
        await seen.until(8)

    assert len(threads) >= 4
    assert threading.get_ident() not in threads


async def test_a_second_process_waits_until_the_first_has_gone(
    open_bus: Made, store: EventStore
) -> None:
    first, second = Seen(), Seen()

    async with open_bus() as bus:
        async with following(bus, first):
            append(store, 3)
            await first.until(3)
            standby = await bus.subscribe(Subscription(name="test"), second)
            append(store, 2)
            await first.until(5)
            assert second.positions == []
        append(store, 1)
        await second.until(1)
        await standby.stop()

    assert second.positions == [6]


async def test_a_silent_owner_is_replaced_and_told_so(
    open_bus: Made, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_module, "LEASE", 0.3)
    monkeypatch.setattr(subscriber_module, "HEARTBEAT", 1.0)
    append(store, 1)
    first, second = Seen(), Seen()

    async with open_bus() as bus:
        silent = await bus.subscribe(Subscription(name="test"), first)
        await first.until(1)
        async with following(bus, second):
            with pytest.raises(SubscriptionTaken):
                await asyncio.wait_for(silent.wait(), 60)


async def test_a_slow_subscriber_holds_a_bounded_number_of_events(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 100, streams=20)
    go_on = asyncio.Event()
    seen = Seen()

    async def slow(event: RecordedEvent) -> None:
        await go_on.wait()
        await seen(event)

    async with open_bus() as bus, following(bus, slow, max_waiting=10) as subscriber:
        await until(lambda: subscriber.unfinished == 10)
        await asyncio.sleep(0.3)
        assert subscriber.unfinished == 10
        go_on.set()
        await seen.until(100)

    assert sorted(seen.positions) == list(range(1, 101))


@pytest.mark.promise("failing-streams-delay-no-other")
async def test_a_failing_stream_with_many_events_holds_up_no_other(
    open_bus: Made, store: EventStore
) -> None:
    """Its events are not kept in memory: they are read again when it is tried again."""
    append(store, 600, streams=2)
    seen = Seen(failing={1: 1})

    async with open_bus() as bus, following(bus, seen, backoff=(3600.0,), max_waiting=8):
        await seen.until(300)

    assert seen.positions == list(range(2, 601, 2))


async def test_what_a_failing_stream_left_behind_is_handled_in_order_when_it_works_again(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 600, streams=2)
    seen = Seen(failing={1: 4, 7: 2, 599: 3})

    async with open_bus() as bus, following(bus, seen, max_waiting=64):
        await seen.until(600, within=120)

    assert [position for position in seen.positions if position % 2] == list(range(1, 601, 2))
    assert [position for position in seen.positions if not position % 2] == list(range(2, 601, 2))


async def test_streams_that_wait_go_on_where_they_were_after_a_restart(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 300, streams=3)
    first, second = Seen(failing={1: 1000, 5: 1000}), Seen()

    async with open_bus() as bus:
        async with following(bus, first, backoff=(3600.0,), max_deliveries=9):
            await first.until(101)
        append(store, 30, streams=3)
        async with following(bus, second):
            await second.until(229)
            await asyncio.sleep(0.1)

    assert sorted(first.positions + second.positions) == list(range(1, 331))
    for stream in range(3):
        mine = [at for at in second.positions if at % 3 == stream]
        assert mine == sorted(mine)


@pytest.mark.promise("failing-streams-delay-no-other")
async def test_many_failing_events_make_a_small_progress(store: EventStore) -> None:
    """What is kept grows with the failing streams, not with what was handled behind them."""
    append(store, 2000, streams=4)
    bus = store_bus(store)
    seen = Seen(failing={1: 1000, 2: 1000})

    async with following(bus, seen, backoff=(3600.0,)):
        await seen.until(1000)

    record = store.find_record("follower", "test")
    assert record is not None
    assert json.loads(record.value)["unhandled"] == {"1": 1, "2": 1}
    assert json.loads(record.value)["low"] == 0
    assert len(record.value) < 1000


async def test_more_failing_streams_than_are_kept_wait_for_each_other(
    open_bus: Made, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_module, "MAX_LANES", 5)
    append(store, 60, streams=20)
    seen = Seen(failing=dict.fromkeys(range(1, 21), 2))

    async with open_bus() as bus, following(bus, seen):
        await seen.until(60)

    assert sorted(seen.positions) == list(range(1, 61))


async def test_an_interest_in_little_passes_the_rest(open_bus: Made, store: EventStore) -> None:
    """Its position tells how far it has looked: what is behind it may be forgotten."""
    append(store, 1)
    store.append("Customer-1", [NewEvent(Int32Value())], expected_version=ANY)
    append(store, 1500)
    seen = Seen()

    wanted = ["google.protobuf.Int32Value"]
    async with (
        open_bus() as bus,
        following(bus, seen, event_types=wanted) as subscriber,
        asyncio.timeout(30),
    ):
        while subscriber.position != 1502:  # noqa: ASYNC110 - by a task
            await asyncio.sleep(0.01)

    assert seen.positions == [2]


class Rude:
    """Raises things that are no errors."""

    def __init__(self) -> None:
        self.raised = 0

    def __call__(self, event: RecordedEvent) -> None:
        kinds = [asyncio.CancelledError, GeneratorExit, SystemExit, StopIteration, Unprintable]
        if self.raised < len(kinds):
            self.raised += 1
            raise kinds[self.raised - 1]


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("in_thread", [True, False])
async def test_whatever_a_handler_raises_counts_as_an_error(
    open_bus: Made, store: EventStore, *, in_thread: bool
) -> None:
    append(store, 2, streams=1)
    rude, seen = Rude(), Seen()

    async def later(event: RecordedEvent) -> None:
        rude(event)
        await seen(event)

    def at_once(event: RecordedEvent) -> None:
        rude(event)
        seen.positions.append(event.global_position)

    handler: EventHandler = at_once if in_thread else later
    async with open_bus() as bus, following(bus, handler, max_deliveries=6):
        await seen.until(2)

    assert (rude.raised, seen.positions) == (5, [1, 2])


async def test_a_handler_that_hangs_does_not_keep_a_subscription_from_ending(
    open_bus: Made, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event counts as not handled, so the next process handles it."""
    monkeypatch.setattr(subscriber_module, "STOP_WITHIN", 0.1)
    monkeypatch.setattr(subscriber_module, "LEASE", 0.3)
    append(store, 2, streams=2)
    begun, never = threading.Event(), threading.Event()
    seen = Seen()

    def hang(event: RecordedEvent) -> None:
        if event.global_position == 1:
            begun.set()
            never.wait(60)

    async with open_bus() as bus:
        async with following(bus, hang):
            await asyncio.to_thread(begun.wait, 10)
            await asyncio.sleep(0.1)
        async with following(bus, seen):
            await seen.until(1)
    never.set()

    assert seen.positions == [1]


async def test_a_skip_survives_a_retry_that_fails_meanwhile(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 1)
    seen = Seen(failing={1: 1000})

    async with open_bus() as bus:
        async with following(bus, seen, max_deliveries=1):
            (letter,) = await buried(bus)

        async def skipped_by_another(event: RecordedEvent) -> None:
            await bus.dead_letters.skip(letter, reason="test data", by="bob")
            raise RuntimeError("too late")

        with pytest.raises(SubscriptionTaken, match="has another decision"):
            await bus.dead_letters.retry(letter, skipped_by_another, reason="try", by="alice")
        (settled,) = await bus.dead_letters.history("test")

    assert settled.skipped
    assert settled.decision is not None
    assert settled.decision.decided_by == "bob"


async def test_a_skipped_event_that_comes_again_stays_skipped(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 2, streams=1)
    seen = Seen(failing={1: 1000})

    async with open_bus() as bus:
        async with following(bus, seen, max_deliveries=1):
            (letter,) = await buried(bus)
        await bus.dead_letters.skip(letter, reason="test data")
        await bus.reset("test", after=0)
        async with following(bus, seen, max_deliveries=1):
            await seen.until(2)

        assert await bus.dead_letters.waiting("test") == []
    assert seen.attempts == [1, 2, 1, 2]


async def test_a_running_subscription_resumes_where_it_is_reset_to(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 5, streams=1)
    seen = Seen()

    async with open_bus() as bus:
        async with following(bus, seen) as running:
            await seen.until(5)
            await bus.reset("test", after=3)
            await seen.until(7)
            await running.check_health()
            append(store, 1, streams=1)
            await seen.until(8)
        assert running.state == "stopped"

    assert seen.positions == [1, 2, 3, 4, 5, 4, 5, 6]


async def test_a_reset_lets_go_of_an_event_that_is_tried_again(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 4, streams=1)
    seen = Seen(failing={3: 1})

    async with open_bus() as bus, following(bus, seen, backoff=(3600.0,)):
        await seen.until(2)
        await bus.reset("test", after=1)
        await seen.until(5)

    assert seen.positions == [1, 2, 2, 3, 4]


async def test_a_paused_subscription_waits_over_restarts_and_events_in_hand_wait_too(
    open_bus: Made, store: EventStore
) -> None:
    append(store, 3, streams=1)
    first, second = Seen(), Seen()

    async def pause_at_two(event: RecordedEvent) -> None:
        await first(event)
        if event.global_position == 2:
            await bus.pause("test", reason="wrong amounts", by="ann")
            await until(lambda: paused.state == "paused")

    async with open_bus() as bus:
        async with following(bus, pause_at_two) as paused:
            await first.until(2)
            await until(lambda: paused.state == "paused")
            append(store, 2, streams=1)
            await asyncio.sleep(0.2)
            with pytest.raises(InvalidArgument, match="paused already: wrong amounts"):
                await bus.pause("test", reason="too")
        async with following(bus, second) as again:
            await until(lambda: again.state == "paused")
            await asyncio.sleep(0.2)
            assert (first.positions, second.positions) == ([1, 2], [])
            await bus.resume("test", reason="right now")
            await second.until(3)
        with pytest.raises(NotFound, match="is not paused"):
            await bus.resume("test", reason="again")
        with pytest.raises(InvalidArgument, match="needs a reason"):
            await bus.pause("test", reason=" ")

    assert second.positions == [3, 4, 5]


async def test_what_is_not_well_with_a_running_subscription_is_told(
    open_bus: Made, store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(store, 3, streams=3)
    never = asyncio.Event()
    begun = asyncio.Event()

    async def handle(event: RecordedEvent) -> None:
        if event.global_position == 1:
            begun.set()
            await never.wait()
        raise RuntimeError(f"no {event.global_position}")

    async def told(pattern: str) -> None:
        async with asyncio.timeout(30):
            while True:
                try:
                    await subscriber.check_health()
                except ServiceError as error:
                    if re.search(pattern, error.message):
                        return
                await asyncio.sleep(0.01)

    async with open_bus() as bus:
        async with following(bus, handle, max_deliveries=2, backoff=(3600.0,)) as subscriber:
            await told(r"trying again to handle (\d): RuntimeError: no \1$")
            await begun.wait()
            monkeypatch.setattr(follower_status, "SLOW_AFTER", 0.0)
            await told("has been handling 1 for")
            never.set()
        async with following(bus, handle, max_deliveries=2) as subscriber:
            await told("3 dead letters, the first at 1")
        await told("is not running")


async def test_an_endless_error_is_cut_and_its_length_told(
    open_bus: Made, store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    append(store, 1)

    def fail(event: RecordedEvent) -> None:
        raise RuntimeError("no" * 10_000_000)

    async with open_bus() as bus, following(bus, fail, max_deliveries=1):
        (letter,) = await buried(bus)

    assert letter.error.endswith("(20,000,014 characters in all)")
    assert len(letter.error) + len(letter.traceback) < 50_000
    assert len(caplog.text) < 5_000


@pytest.mark.parametrize(
    "options",
    [
        {"name": "no.dots"},
        {"name": ""},
        {"name": "x", "max_deliveries": 0},
        {"name": "x", "backoff": ()},
        {"name": "x", "max_concurrent": 0},
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Subscription(**options)
