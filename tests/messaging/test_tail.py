"""Following events gives the same from the store and from NATS."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from eskit.domain.events import NewEvent, RecordedEvent
from eskit.domain.streams import ANY
from eskit.errors import BrokerUnavailable, InvalidArgument
from eskit.messaging import tail_nats as tail_nats_module
from eskit.messaging.publisher_nats import nats_relay
from eskit.messaging.tail import TailRequest, tail_store
from eskit.messaging.tail_nats import tail_nats
from eskit.nats.connection import connected
from eskit.nats.server import EmbeddedNats
from eskit.store.eventstore import EventStore
from tests.messaging.conftest import StartServer, append


class Source:
    """A log to append to, and a way to follow it: straight, or through relay and JetStream."""

    def __init__(self, store: EventStore, url: str) -> None:
        self.store = store
        self._url = url
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._url:
            connection = await self._stack.enter_async_context(connected(self._url))
            self.connection = connection
            self._stop = asyncio.Event()
            self._relay = asyncio.create_task(
                nats_relay(self.store, connection, app_name="bank").run(self._stop)
            )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._url:
            self._stop.set()
            await self._relay
        await self._stack.aclose()

    async def settle(self) -> None:
        """Wait until everything appended so far can be followed."""
        while self._url:
            checkpoint = self.store.find_checkpoint("relay")
            if checkpoint is not None and checkpoint.position == self.store.head_position():
                return
            await asyncio.sleep(0.02)

    def tail(self, **request: Any) -> AsyncIterator[RecordedEvent]:
        if self._url:
            return tail_nats(self.connection, TailRequest(**request))
        return tail_store(self.store, TailRequest(**request))

    async def bounded(self, **request: Any) -> list[int]:
        await self.settle()
        return [event.global_position async for event in self.tail(follow=False, **request)]


@pytest.fixture(params=["store", "nats"])
def make_source(request: pytest.FixtureRequest, store: EventStore) -> Callable[[], Source]:
    url = request.getfixturevalue("server").url if request.param == "nats" else ""
    return lambda: Source(store, url)


@pytest.mark.promise("tails-are-complete")
async def test_a_bounded_tail_gives_what_the_store_holds(
    make_source: Callable[[], Source],
) -> None:
    async with make_source() as source:
        append(source.store, 2100)
        append(source.store, 5, tenant="acme")
        await source.settle()

        events = [event async for event in source.tail(start="first", follow=False)]

        assert events == list(source.store.read_all())


async def test_an_empty_log_gives_nothing(make_source: Callable[[], Source]) -> None:
    async with make_source() as source:
        assert [event async for event in source.tail(start="first", follow=False)] == []


async def test_a_bounded_tail_begins_where_it_is_told(make_source: Callable[[], Source]) -> None:
    async with make_source() as source:
        append(source.store, 300)

        assert await source.bounded(start="new") == []
        assert await source.bounded(start=3) == [298, 299, 300]
        assert await source.bounded(start=0) == []
        assert await source.bounded(start=1000) == list(range(1, 301))
        assert await source.bounded(after=297) == [298, 299, 300]
        assert await source.bounded(after=300) == []
        assert await source.bounded(after=0) == list(range(1, 301))


async def test_a_tail_can_begin_and_end_at_a_time(make_source: Callable[[], Source]) -> None:
    async with make_source() as source:
        append(source.store, 40)
        await asyncio.sleep(0.01)
        between = datetime.now(UTC)
        await asyncio.sleep(0.01)
        append(source.store, 3)

        assert await source.bounded(since=between) == [41, 42, 43]
        assert await source.bounded(start="first", until=between) == list(range(1, 41))
        assert await source.bounded(since=between + timedelta(hours=1)) == []
        assert await source.bounded(since=between - timedelta(hours=1)) == list(range(1, 44))


async def test_a_following_tail_ends_at_its_time_although_nothing_happens(
    make_source: Callable[[], Source],
) -> None:
    async with make_source() as source:
        append(source.store, 3)
        await source.settle()
        soon = datetime.now(UTC) + timedelta(seconds=0.5)

        async with asyncio.timeout(20):
            at_its_time = [e.global_position async for e in source.tail(start=2, until=soon)]
            too_late = [e.global_position async for e in source.tail(start="first", until=soon)]
            filtered = [e async for e in source.tail(start="new", until=soon, aggregates=["None"])]

    assert datetime.now(UTC) > soon
    assert at_its_time == [2, 3]
    assert too_late == [1, 2, 3]
    assert filtered == []


@pytest.mark.promise("tails-are-complete")
async def test_what_is_published_while_a_tail_begins_is_not_left_out(
    store: EventStore, server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(store, 5)
    async with connected(server.url) as connection:
        relay = nats_relay(store, connection, app_name="bank")
        await relay.run_once()
        look = tail_nats_module.find_stream

        async def look_then_publish(*args: Any) -> Any:
            found = await look(*args)
            monkeypatch.undo()
            append(store, 3)
            await relay.run_once()
            return found

        monkeypatch.setattr(tail_nats_module, "find_stream", look_then_publish)
        async with aclosing(tail_nats(connection, TailRequest(start=2))) as events:
            seen = [(await asyncio.wait_for(anext(events), 10)).global_position for _ in range(5)]

    assert seen == [4, 5, 6, 7, 8]


async def test_filters_let_through_what_matches(make_source: Callable[[], Source]) -> None:
    async with make_source() as source:
        append(source.store, 200, streams=100)
        other = NewEvent(Int32Value(value=1))
        source.store.append("Customer-1", [other, NewEvent(Int32Value())], expected_version=0)
        append(source.store, 2, tenant="acme")

        assert await source.bounded(start="first", aggregates=["Customer"]) == [201, 202]
        assert await source.bounded(start="first", event_types=["google.protobuf.Int32Value"]) == [
            201,
            202,
        ]
        assert await source.bounded(start="first", event_types=["Int32Value"]) == [201, 202]
        assert await source.bounded(start="first", stream="Account-7") == [8, 108]
        assert await source.bounded(start=1, stream="Account-7") == [108]
        assert await source.bounded(start="first", tenants=["acme"]) == [203, 204]
        assert await source.bounded(start=1, tenants=[""]) == [202]
        assert await source.bounded(start="first", correlation_id="corr 50") == [51]
        assert await source.bounded(start="first", event_types=["Nothing"]) == []


async def test_a_following_tail_gives_new_events_as_they_come(
    make_source: Callable[[], Source],
) -> None:
    async with make_source() as source:
        append(source.store, 10)
        await source.settle()

        async with aclosing(source.tail(start=2)) as events:
            seen = [(await anext(events)).global_position for _ in range(2)]
            append(source.store, 2)
            seen += [(await asyncio.wait_for(anext(events), 10)).global_position for _ in range(2)]

        assert seen == [9, 10, 11, 12]


async def test_a_following_tail_waits_for_the_first_event_of_all(
    make_source: Callable[[], Source],
) -> None:
    async with make_source() as source, aclosing(source.tail(start="first")) as events:
        first = asyncio.create_task(anext(events))
        await asyncio.sleep(0.2)
        append(source.store, 1)

        assert (await asyncio.wait_for(first, 10)).global_position == 1


@pytest.mark.parametrize("bound", ["after", "since"])
async def test_a_tail_begins_where_it_is_told_although_the_relay_comes_later(
    store: EventStore, server: EmbeddedNats, bound: str
) -> None:
    append(store, 3)
    await asyncio.sleep(0.01)
    between = datetime.now(UTC)
    append(store, 2)
    request = TailRequest(after=3) if bound == "after" else TailRequest(since=between)

    async with (
        connected(server.url) as connection,
        aclosing(tail_nats(connection, request)) as events,
    ):
        first = asyncio.create_task(anext(events))
        await asyncio.sleep(0.3)
        await nats_relay(store, connection, app_name="bank").run_once()

        assert (await asyncio.wait_for(first, 10)).global_position == 4


async def test_an_unknown_event_type_is_given_undecoded(
    make_source: Callable[[], Source],
) -> None:
    async with make_source() as source:
        event = NewEvent(StringValue(value="x"))
        object.__setattr__(event, "event_type", "gone.v1.Unheard")
        source.store.append("Account-1", [event], expected_version=ANY)
        await source.settle()

        (seen,) = [event async for event in source.tail(start="first", follow=False)]

        assert seen.event_type == "gone.v1.Unheard"
        assert seen.data == StringValue(value="x").SerializeToString()


@pytest.mark.promise("tails-are-complete")
async def test_a_restarted_server_leaves_neither_gap_nor_duplicate(
    file_store: EventStore, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server(tmp_path / "nats")
    port = urlsplit(server.url).port or 0
    seen: list[int] = []

    async with Source(file_store, server.url) as source, connected(server.url) as connection:
        append(file_store, 100)
        follower = asyncio.create_task(
            collect(tail_nats(connection, TailRequest(start="first")), seen, 300)
        )
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(server.pid, number)
            await asyncio.to_thread(server.stop)
            append(source.store, 50)
            server = await asyncio.to_thread(start_server, tmp_path / "nats", port=port)
            append(source.store, 50)
        await asyncio.wait_for(follower, 60)

    assert seen == list(range(1, 301))


@pytest.mark.promise("tails-are-complete")
async def test_a_wiped_server_is_followed_on_from_the_position(
    file_store: EventStore, tmp_path: Path, start_server: StartServer
) -> None:
    server = start_server()
    port = urlsplit(server.url).port or 0
    seen: list[int] = []

    async with Source(file_store, server.url), connected(server.url) as connection:
        append(file_store, 100)
        follower = asyncio.create_task(
            collect(tail_nats(connection, TailRequest(start="first")), seen, 150)
        )
        while len(seen) < 100:  # noqa: ASYNC110 - the list is filled by the task
            await asyncio.sleep(0.02)
        await asyncio.to_thread(server.stop)
        server = await asyncio.to_thread(start_server, port=port)
        append(file_store, 50)
        await asyncio.wait_for(follower, 60)

    assert seen == list(range(1, 151))


async def test_a_bounded_tail_of_a_broker_that_went_away_is_an_error() -> None:
    with EmbeddedNats() as server:
        async with connected(server.url) as connection:
            await asyncio.to_thread(server.stop)

            with pytest.raises(BrokerUnavailable):
                async for _ in tail_nats(connection, TailRequest(start="first", follow=False)):
                    pass


def test_times_without_a_zone_and_negative_counts_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="no time zone"):
        TailRequest(since=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(InvalidArgument, match="last -1 events"):
        TailRequest(start=-1)


async def collect(events: AsyncIterator[RecordedEvent], seen: list[int], count: int) -> None:
    """Note positions until there are `count`, and a little longer in case more come."""
    async with aclosing(events):
        while len(seen) < count:
            seen.append((await anext(events)).global_position)
