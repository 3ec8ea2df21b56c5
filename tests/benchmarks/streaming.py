"""Relay, tail and requests beside bare nats-py, on one nats-server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import nats
from google.protobuf.wrappers_pb2 import StringValue
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from eskit import ANY, CallOptions, EventStore, NewEvent, open_store
from eskit.app import RunningApp
from eskit.cli.main import main as run_eskit
from eskit.cqrs.nats import NatsTransport
from eskit.messaging.publisher_nats import nats_relay
from eskit.messaging.stream_settings import StreamSettings
from eskit.nats.connection import connected
from eskit.nats.headers import encode_headers, subject_of
from eskit.nats.server import EmbeddedNats
from tests.benchmarks.appending import PAYLOAD
from tests.benchmarks.comparison import Comparison, Target, Timed, compare
from tests.benchmarks.noting import APP, ECHO, WRITE, served

EVENTS = 50_000
CALLS = 1_000
IN_FLIGHT = 64
APPENDS = 200
CONSUMER = ConsumerConfig(
    deliver_policy=DeliverPolicy.ALL,
    ack_policy=AckPolicy.NONE,
    mem_storage=True,
    inactive_threshold=60.0,
)


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """Everything with a number to reach; few rounds, each takes seconds."""
    rounds = max(3, rounds // 3)
    with (
        EmbeddedNats(folder / "nats") as server,
        open_store(f"sqlite:///{folder / 'log.db'}?synchronous=normal") as store,
    ):
        fill(store)
        yield compare(
            f"relay {EVENTS:,} stored events",
            relaying(store, server.url),
            floor_name="nats-py: the same messages, an inbox of one's own counts acknowledgements",
            floor=publishing(store, server.url),
            target=Target(kind="speed", bound=0.5),
            rounds=rounds,
            count=EVENTS,
        )
        yield compare(
            f"tail --json of {EVENTS:,} events",
            tailing(store.url, server.url, folder / "tail.json"),
            floor_name="nats-py: a pull consumer whose callback writes the raw bytes",
            floor=consuming(server.url, folder / "raw"),
            target=Target(kind="speed", bound=0.5),
            rounds=rounds,
            count=EVENTS,
        )
    yield from run_calls(folder, rounds)
    with (
        EmbeddedNats(folder / "latency") as server,
        open_store(f"sqlite:///{folder / 'latency.db'}") as store,
    ):
        for way, source in (("through relay and NATS", "nats"), ("from the store", "store")):
            yield compare(
                f"append to visible in another process's tail {way}, median",
                seeing(store, server.url, source),
                floor_name="nothing",
                floor=lambda: 0.0,
                target=Target(kind="extra", bound=0.010),
                rounds=rounds,
            )


def run_calls(folder: Path, rounds: int) -> Iterator[Comparison]:
    """Commands to services in other processes, one of them with two middlewares."""
    with (
        EmbeddedNats(folder / "calls") as server,
        EmbeddedNats(folder / "layered") as layered,
        served(server.url, f"sqlite:///{folder / 'calls.db'}"),
        served(layered.url, f"sqlite:///{folder / 'layered.db'}", "layered"),
        APP.open(f"sqlite:///{folder / 'in-process.db'}") as running,
    ):
        yield compare(
            "command over NATS, one client",
            calling(server.url, in_flight=1),
            floor_name="nats-py: request and reply, and the command in process",
            floor=replying(running, server.url),
            target=Target(kind="time", bound=2.0),
            rounds=rounds,
            count=CALLS,
        )
        yield compare(
            f"commands over NATS, {IN_FLIGHT} in flight, many streams",
            calling(server.url, in_flight=IN_FLIGHT),
            floor_name="one in flight",
            floor=calling(server.url, in_flight=1),
            target=Target(kind="speed", bound=4.0),
            rounds=rounds,
            count=CALLS,
        )
        for bound, floor_name, url, in_flight in (
            (5.0, "one in flight", layered.url, 1),
            (0.9, "without middleware", server.url, IN_FLIGHT),
        ):
            yield compare(
                f"commands over NATS, {IN_FLIGHT} in flight, two middlewares",
                calling(layered.url, in_flight=IN_FLIGHT),
                floor_name=floor_name,
                floor=calling(url, in_flight=in_flight),
                target=Target(kind="speed", bound=bound),
                rounds=rounds,
                count=CALLS,
            )


def fill(store: EventStore) -> None:
    """The log that is relayed."""
    for stream in range(EVENTS // 100):
        events = [NewEvent(StringValue(value=PAYLOAD)) for _ in range(100)]
        store.append(f"Account-{stream}", events, expected_version=ANY)


def relaying(store: EventStore, url: str) -> Timed:
    """All of the log into an empty stream, which afterwards is there for tailing."""

    async def work() -> float:
        async with connected(url) as connection:
            await _drop(url, "ESKIT_EVENTS")
            relay = nats_relay(store, connection, app_name="bench", settings=StreamSettings())
            start = time.perf_counter()
            report = await relay.run_once()
            assert report.published == EVENTS
            return time.perf_counter() - start

    return _timed(work)


def publishing(store: EventStore, url: str) -> Timed:
    """The same subjects, headers and bytes, prepared before; acknowledgements are only counted."""

    async def work() -> float:
        client = await nats.connect(url)
        await _drop(url, "BARE")
        await client.jetstream().add_stream(name="BARE", subjects=["bare.>"])
        messages = [
            (subject_of(event, "bare"), event.data, encode_headers(event, "/bench/1"))
            for event in store.read_all()
        ]
        left, all_are_here = len(messages), asyncio.Event()

        async def count(_: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                all_are_here.set()

        inbox = client.new_inbox()
        await client.subscribe(inbox, cb=count)
        start = time.perf_counter()
        for subject, data, headers in messages:
            await client.publish(subject, data, reply=inbox, headers=headers)
        await all_are_here.wait()
        took = time.perf_counter() - start
        await client.close()
        return took

    return _timed(work)


def tailing(store: str, url: str, target: Path) -> Timed:
    """The command itself, its output in a file."""
    arguments = ("tail", "--from", "first", "--no-follow", "--source", "nats", "--json")

    def run() -> float:
        with target.open("w") as file, contextlib.redirect_stdout(file):
            start = time.perf_counter()
            assert run_eskit([*arguments, "--store", store, "--nats", url]) == 0
            took = time.perf_counter() - start
        assert target.read_bytes().count(b"\n") == EVENTS
        return took

    return run


def consuming(url: str, target: Path) -> Timed:
    """One pull request for all, its messages to a callback, the bytes written as they are.

    The fastest that nats-py has: ahead of a callback of an ordered consumer, which watches
    sequences, and far ahead of a loop over messages, ``next_msg`` and ``fetch``.
    """

    async def work() -> float:
        client = await nats.connect(url)
        with target.open("wb") as file:
            left, all_are_here = EVENTS, asyncio.Event()

            async def write(message: Any) -> None:
                nonlocal left
                file.write(message.data + b"\n")
                left -= 1
                if not left:
                    all_are_here.set()

            start = time.perf_counter()
            inbox = client.new_inbox()
            await client.subscribe(inbox, cb=write, pending_msgs_limit=-1, pending_bytes_limit=-1)
            consumer = await client.jetstream().add_consumer("ESKIT_EVENTS", CONSUMER)
            await client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.ESKIT_EVENTS.{consumer.name}",
                json.dumps({"batch": EVENTS, "expires": 60 * 10**9}).encode(),
                reply=inbox,
            )
            await all_are_here.wait()
            took = time.perf_counter() - start
        await client.close()
        return took

    return _timed(work)


def calling(url: str, *, in_flight: int) -> Timed:
    """Commands, each to a stream of its own, to a service in another process."""

    async def work() -> float:
        async with connected(url) as client:
            transport, room = NatsTransport(client), asyncio.Semaphore(in_flight)

            async def call() -> None:
                async with room:
                    await transport.request(WRITE, StringValue(value=PAYLOAD), CallOptions())

            start = time.perf_counter()
            await asyncio.gather(*(call() for _ in range(CALLS)))
            return time.perf_counter() - start

    return _timed(work)


def replying(running: RunningApp, url: str) -> Timed:
    """Bare request and reply with that process, then the same number of commands in this one."""

    async def work() -> float:
        async with connected(url) as client:
            start = time.perf_counter()
            for _ in range(CALLS):
                await client.request(ECHO, b"x" * 20)
            for _ in range(CALLS):
                running.execute(StringValue(value=PAYLOAD))
            return time.perf_counter() - start

    return _timed(work)


def seeing(store: EventStore, url: str, source: str) -> Timed:
    """The median from the return of an append to the line of ``eskit tail`` in its own process.

    The relay is a thread of this process, as ``eskit serve`` has it beside its services.
    """
    arguments = ("tail", "--json", "--source", source, "--nats", url, "--store", store.url)
    command = [sys.executable, "-m", "eskit", *arguments, "--from", "-1"]

    def run() -> float:
        append_one(store)
        with relayed(store, url), subprocess.Popen(command, stdout=subprocess.PIPE) as tail:
            assert tail.stdout is not None
            tail.stdout.readline()  # the last event so far: it follows from here on
            delays = []
            for _ in range(APPENDS):
                time.sleep(random.uniform(0.01, 0.05))
                append_one(store)
                begun = time.perf_counter()
                tail.stdout.readline()
                delays.append(time.perf_counter() - begun)
            tail.terminate()
        return statistics.median(delays)

    return run


def append_one(store: EventStore) -> None:
    """One event more."""
    store.append("Account-1", [NewEvent(StringValue(value=PAYLOAD))], expected_version=ANY)


@contextlib.contextmanager
def relayed(store: EventStore, url: str) -> Iterator[None]:
    """A relay in a thread, as long as the block lasts; everything so far is published."""
    loops: Queue[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Queue()

    async def relay() -> None:
        stop = asyncio.Event()
        async with connected(url) as connection:
            await nats_relay(store, connection, app_name="bench").run_once()
            loops.put((asyncio.get_running_loop(), stop))
            await nats_relay(store, connection, app_name="bench").run(stop)

    thread = threading.Thread(target=lambda: asyncio.run(relay()))
    thread.start()
    loop, stop = loops.get(timeout=30)
    yield
    loop.call_soon_threadsafe(stop.set)
    thread.join()


def _timed(work: Any) -> Timed:
    def run() -> float:
        coroutine: Coroutine[Any, Any, float] = work()
        return asyncio.run(coroutine)

    return run


async def _drop(url: str, stream: str) -> None:
    client = await nats.connect(url)
    with contextlib.suppress(nats.js.errors.NotFoundError):
        await client.jetstream().delete_stream(stream)
    await client.close()
