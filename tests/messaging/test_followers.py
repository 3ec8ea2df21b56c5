"""Subscriptions as they are looked at: those of a stream in NATS, and those of the log."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.protobuf.wrappers_pb2 import Int32Value

from eskit.domain.events import NewEvent, RecordedEvent
from eskit.domain.streams import ANY
from eskit.domain.subjects import StreamNames
from eskit.errors import InvalidArgument, NotFound, ServiceError
from eskit.messaging import follower_status
from eskit.messaging.follower_status import FollowerStatus
from eskit.messaging.followers import find_others, load_status
from eskit.messaging.followers_nats import NatsFollowers
from eskit.messaging.publisher_nats import nats_relay
from eskit.messaging.stream_settings import StreamSettings
from eskit.messaging.subscription import Subscription
from eskit.messaging.subscriptions_nats import BUCKET, KeyValueSubscriptions, nats_bus
from eskit.messaging.subscriptions_store import store_bus
from eskit.nats.connection import Connection, connected
from eskit.nats.jetstream import api, delete_stream, find_stream, publish
from eskit.nats.server import EmbeddedNats
from eskit.processes.holding import Holder
from eskit.store.eventstore import EventStore
from tests.messaging.conftest import StartServer, append, until
from tests.support.processes import subscribing

NAMES = StreamNames("BANK_EVENTS", "bank.events")
SETTINGS = StreamSettings(name=NAMES.stream, prefix=NAMES.prefix)
HERE = Holder.here()
Is = Callable[[FollowerStatus], bool]


def pid_of(status: FollowerStatus) -> int:
    return status.holder.pid if status.holder is not None else 0


async def publish_all(store: EventStore, connection: Connection) -> None:
    """Publish what the log has."""
    await nats_relay(store, connection, app_name="bank", settings=SETTINGS).run_once()


@asynccontextmanager
async def subscribed(
    connection: Connection, handler: Any, name: str = "mailer", **options: Any
) -> AsyncIterator[Any]:
    bus = nats_bus(connection, stream=NAMES.stream, prefix=NAMES.prefix)
    subscriber = await bus.subscribe(Subscription(name=name, **options), handler)
    try:
        yield subscriber
    finally:
        await subscriber.stop()


async def once(connection: Connection, wanted: Is, name: str = "mailer") -> FollowerStatus:
    """The status of a subscription once that is so."""
    followers = NatsFollowers(connection, NAMES)
    async with asyncio.timeout(60):
        while not wanted(  # noqa: ASYNC110 - of a task or a process
            status := await followers.load_status(name)
        ):
            await asyncio.sleep(0.02)
    return status


def start_process(server: EmbeddedNats, folder: Path, name: str = "mailer") -> Any:
    (folder / "handled").touch()
    return asyncio.create_subprocess_exec(
        *(sys.executable, subscribing.__file__, server.url, name, str(folder)),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )


def handled(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "handled").read_text().split()]


async def test_a_subscription_is_listed_while_it_runs_is_paused_and_is_stopped(
    server: EmbeddedNats, store: EventStore
) -> None:
    append(store, 3)
    async with connected(server.url) as connection:
        followers = NatsFollowers(connection, NAMES)
        before = await followers.names()
        unknown = await followers.load_status("mailer")
        created = await find_stream(connection, f"KV_{BUCKET}")
        await publish_all(store, connection)
        async with subscribed(connection, lambda event: None):
            running = await once(connection, lambda s: s.position == 3 and s.state == "running")
            await followers.pause("mailer", reason="wrong amounts", by="ann")
            append(store, 2)
            await publish_all(store, connection)
            paused = await once(connection, lambda s: s.lag == 2)
            await followers.resume("mailer", reason="amounts corrected", by="bob")
            await once(connection, lambda s: s.position == 5)
        append(store, 4)
        await publish_all(store, connection)
        stopped = await followers.load_status("mailer")
        names = await followers.names()
        (pause,) = await KeyValueSubscriptions(connection, scope=NAMES.stream).list_pauses("mailer")

    assert (before, names) == ([], ["mailer"])
    assert (unknown.state, unknown.position, created) == ("idle", None, None)
    assert (running.kind, running.kept_in) == ("subscription", "nats")
    assert (running.head, running.lag, running.holder) == (3, 0, HERE)
    assert (paused.state, paused.pause, paused.position) == ("paused", "wrong amounts", 3)
    assert (paused.head, paused.oldest_seconds > 0) == (5, True)
    assert (stopped.state, stopped.position, stopped.lag) == ("idle", 5, 4)
    assert (stopped.holder, stopped.abandoned) == (None, True)
    assert (pause["reason"], pause["by"], pause["resumed"]["by"]) == ("wrong amounts", "ann", "bob")


async def test_a_pause_and_a_place_outlive_the_server_and_the_process(
    tmp_path: Path, start_server: StartServer, store: EventStore
) -> None:
    append(store, 2)
    server = start_server(tmp_path / "nats")
    port = urlsplit(server.url).port or 0
    async with connected(server.url) as connection:
        await publish_all(store, connection)
        async with subscribed(connection, lambda event: None):
            await once(connection, lambda s: s.position == 2)
        await NatsFollowers(connection, NAMES).pause("mailer", reason="wrong amounts", by="ann")
    await asyncio.to_thread(server.stop)
    server = await asyncio.to_thread(start_server, tmp_path / "nats", port=port)
    seen: list[int] = []
    async with connected(server.url) as connection:
        append(store, 1)
        await publish_all(store, connection)
        restarted = await NatsFollowers(connection, NAMES).load_status("mailer")
        handler = lambda event: seen.append(event.global_position)  # noqa: E731
        async with subscribed(connection, handler) as subscriber:
            await until(lambda: subscriber.state == "paused")
            waiting = await once(connection, lambda s: s.holder is not None)
            await asyncio.sleep(0.2)
            assert seen == []
            await NatsFollowers(connection, NAMES).resume("mailer", reason="mended", by="ann")
            await until(lambda: seen == [3])

    assert (restarted.state, restarted.position, restarted.lag) == ("paused", 2, 1)
    assert (waiting.state, waiting.holder) == ("paused", HERE)


async def test_an_event_that_is_being_handled_is_seen_from_another_process(
    server: EmbeddedNats, store: EventStore, tmp_path: Path
) -> None:
    append(store, 3, streams=1)
    (tmp_path / "slow").touch()
    async with connected(server.url) as connection:
        await publish_all(store, connection)
        process = await start_process(server, tmp_path)
        try:
            slow = await once(connection, lambda s: bool(s.in_flight))
            await NatsFollowers(connection, NAMES).pause("mailer", reason="too slow", by="ann")
            for _ in range(2):  # then the process has looked for a pause
                seen = (await NatsFollowers(connection, NAMES).load_status("mailer")).updated_at
                await once(connection, lambda s: s.updated_at != seen)  # noqa: B023
            (tmp_path / "slow").unlink()
            paused = await once(connection, lambda s: s.position == 1)
            await NatsFollowers(connection, NAMES).resume("mailer", reason="mended", by="ann")
            await once(connection, lambda s: s.position == 3)
        finally:
            process.kill()
            await process.wait()

    assert [each.position for each in slow.in_flight] == [1]
    assert (slow.state, pid_of(slow), slow.lag, slow.position) == ("running", process.pid, 3, 0)
    assert (paused.state, paused.lag) == ("paused", 2)
    assert handled(tmp_path) == [1, 2, 3]


async def test_a_handler_that_hangs_is_seen_from_another_process(
    server: EmbeddedNats, store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_status, "SLOW_AFTER", 0.0)
    append(store, 1)
    (tmp_path / "slow").touch()
    async with connected(server.url) as connection:
        await publish_all(store, connection)
        process = await start_process(server, tmp_path)
        try:
            hangs = await once(connection, lambda s: s.state == "failed")
        finally:
            process.kill()
            await process.wait()

    assert hangs.error.startswith("has been handling 1 for")


async def test_a_subscription_without_its_server_is_not_well(
    tmp_path: Path, start_server: StartServer, store: EventStore
) -> None:
    append(store, 1)
    server = start_server(tmp_path / "nats")
    port = urlsplit(server.url).port or 0
    async with connected(server.url) as connection:
        await publish_all(store, connection)
        async with subscribed(connection, lambda event: None) as subscriber:
            await until(lambda: subscriber.position == 1)
            await asyncio.to_thread(server.stop)
            await until(lambda: subscriber.saving)
            with pytest.raises(ServiceError, match="Subscription mailer cannot save: "):
                await subscriber.check_health()
            server = await asyncio.to_thread(start_server, tmp_path / "nats", port=port)
            await until(lambda: not subscriber.saving)
            await subscriber.check_health()


async def test_of_two_processes_the_one_that_runs_is_named_and_the_other_takes_over(
    server: EmbeddedNats, store: EventStore, tmp_path: Path
) -> None:
    append(store, 2)
    async with connected(server.url) as connection:
        await publish_all(store, connection)
        first = await start_process(server, tmp_path)
        try:
            runs = await once(connection, lambda s: s.holder is not None and s.position == 2)
            second = await start_process(server, tmp_path)
            try:
                first.kill()
                await first.wait()
                after = await once(connection, lambda s: pid_of(s) == second.pid)
            finally:
                second.kill()
                await second.wait()
        finally:
            if first.returncode is None:
                first.kill()
                await first.wait()
        silent = await once(connection, lambda s: s.holder is None)

    assert (runs.state, pid_of(runs)) == ("running", first.pid)
    assert after.state == "running"
    assert (silent.state, silent.position, silent.lag) == ("idle", 2, 0)


async def test_dead_letters_and_events_that_are_tried_again_are_not_well(
    server: EmbeddedNats, store: EventStore
) -> None:
    def fail(event: RecordedEvent) -> None:
        if event.stream == "Account-0":
            raise RuntimeError("no mail")

    append(store, 6, streams=2)
    async with connected(server.url) as connection:
        await publish_all(store, connection)
        async with subscribed(connection, fail, backoff=(3600.0,)):
            again = await once(connection, lambda s: bool(s.waiting) and s.lag == 3)
        async with subscribed(connection, fail, max_deliveries=1):
            failed = await once(connection, lambda s: s.set_aside == 3 and s.lag == 0)
        bus = nats_bus(connection, stream=NAMES.stream, prefix=NAMES.prefix)
        for letter in await bus.dead_letters.waiting("mailer"):
            await bus.dead_letters.skip(letter, reason="test data")
        skipped = await NatsFollowers(connection, NAMES).load_status("mailer")

    assert (again.state, again.position, again.waiting[0].attempts) == ("failed", 0, 1)
    assert again.error == "trying again to handle 1: RuntimeError: no mail"
    assert (failed.state, failed.error) == ("failed", "3 dead letters, the first at 1")
    assert (skipped.state, skipped.set_aside, skipped.skipped) == ("idle", 0, 3)


@pytest.mark.parametrize(
    ("options", "lag"),
    [
        ({}, 9),
        ({"event_types": ["google.protobuf.Int32Value"]}, 2),
        ({"event_types": ["Int32Value"]}, 2),
        ({"aggregates": ["Customer"]}, 2),
        ({"stream": "Account-1"}, 3),
        ({"tenants": ["acme"]}, 1),
        ({"start": 4}, 5),
        ({"start": "new"}, 0),
        ({"start": datetime(2020, 1, 1, tzinfo=UTC)}, 9),
    ],
)
async def test_lag_counts_the_events_that_a_subscription_wants_wherever_it_keeps_its_place(
    server: EmbeddedNats, store: EventStore, options: dict[str, Any], lag: int
) -> None:
    """Nobody runs it: what it asked for is kept with its progress."""
    append(store, 6, streams=2)
    store.append("Customer-1", [NewEvent(Int32Value())], expected_version=ANY)
    store.append("Customer-2", [NewEvent(Int32Value())], expected_version=ANY)
    append(store, 1, tenant="acme")
    subscription = Subscription(name="mailer", **options)
    never = asyncio.Event()

    async def wait(event: RecordedEvent) -> None:
        await never.wait()

    async with connected(server.url) as connection:
        await publish_all(store, connection)
        stopped = [
            await nats_bus(connection, stream=NAMES.stream, prefix=NAMES.prefix).subscribe(
                subscription, wait
            ),
            await store_bus(store).subscribe(subscription, wait),
        ]
        in_nats = await once(connection, lambda s: s.updated_at is not None and s.lag == lag)
        async with asyncio.timeout(30):
            while not (others := find_others(store, ())):  # noqa: ASYNC110 - of a task
                await asyncio.sleep(0.01)
        of_log = load_status(store, others[0], kind="subscription")
        never.set()
        for subscriber in stopped:
            await subscriber.stop()

    assert (in_nats.lag, of_log.lag) == (lag, lag)
    assert others[0].start == subscription.start
    assert bool(in_nats.oldest_seconds) == bool(lag) == bool(of_log.oldest_seconds)


async def test_what_a_reset_means_is_planned_and_a_running_subscription_resumes_there(
    server: EmbeddedNats, store: EventStore
) -> None:
    append(store, 6, streams=1)
    seen: list[int] = []
    async with connected(server.url) as connection:
        await publish_all(store, connection)
        followers = NatsFollowers(connection, NAMES)
        handler = lambda event: seen.append(event.global_position)  # noqa: E731
        async with subscribed(connection, handler):
            await once(connection, lambda s: s.position == 6)
            back = await followers.plan_reset("mailer", 4)
            with pytest.raises(InvalidArgument, match="ends at 6, so nothing can resume after 7"):
                await followers.reset("mailer", 7)
            with pytest.raises(NotFound, match="No reaction or subscription 'mail'") as unknown:
                await followers.reset("mail", 4)
            await followers.reset("mailer", 4)
            await until(lambda: seen == [1, 2, 3, 4, 5, 6, 5, 6])
        append(store, 3, streams=1)
        await publish_all(store, connection)
        ahead = await followers.plan_reset("mailer", 8)
        await followers.reset("mailer", 8)
        moved = await followers.load_status("mailer")

    assert unknown.value.hint == "Did you mean mailer?"
    assert (back.before, back.after, back.again, back.skipped) == (6, 4, 2, 0)
    assert (ahead.before, ahead.after, ahead.again, ahead.skipped) == (6, 8, 0, 2)
    assert (moved.position, moved.lag, moved.state) == (8, 1, "idle")


async def test_a_place_that_is_lost_or_behind_a_gap_is_not_well_until_it_is_set(
    server: EmbeddedNats, store: EventStore
) -> None:
    append(store, 2)
    async with connected(server.url) as connection:
        followers = NatsFollowers(connection, NAMES)
        await publish_all(store, connection)
        async with subscribed(connection, lambda event: None):
            await once(connection, lambda s: s.position == 2)
        subject = f"$KV.{BUCKET}.{NAMES.stream}.mailer.progress"
        await publish(connection, subject, b"\x00garbage", {})
        garbage = await followers.load_status("mailer")
        await followers.reset("mailer", 2)
        append(store, 3)
        await publish_all(store, connection)
        await api(connection, f"STREAM.PURGE.{NAMES.stream}", {"seq": 5})
        gap = await followers.load_status("mailer")
        with pytest.raises(InvalidArgument, match="events after 2 are gone"):
            await followers.plan_reset("mailer", 2)
        await followers.reset("mailer", 4)
        mended = await followers.load_status("mailer")
        await delete_stream(connection, f"KV_{BUCKET}")
        fresh = NatsFollowers(connection, NAMES)
        names, gone = await fresh.names(), await fresh.load_status("mailer")
        await fresh.reset("mailer", 4)
        async with subscribed(connection, lambda event: None):
            again = await once(connection, lambda s: s.position == 5)

    assert (garbage.state, "cannot be read" in garbage.error) == ("failed", True)
    assert (gap.state, "begins at 5: events after 2 are gone" in gap.error) == ("failed", True)
    assert (mended.state, mended.position, mended.lag) == ("idle", 4, 1)
    assert (names, gone.state, "is gone from NATS" in gone.error) == (["mailer"], "failed", True)
    assert (again.state, again.error) == ("running", "")
