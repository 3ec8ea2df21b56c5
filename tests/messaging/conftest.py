"""A real nats-server and a store with events for the tests of messaging."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.domain.events import Metadata, NewEvent
from eskit.domain.streams import ANY
from eskit.nats.server import EmbeddedNats
from eskit.store.eventstore import EventStore
from eskit.store.open import open_store

StartServer = Callable[..., EmbeddedNats]


@pytest.fixture
def server() -> Iterator[EmbeddedNats]:
    with EmbeddedNats() as server:
        yield server


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts servers as EmbeddedNats takes its arguments; none is left, however a test ends.

    All demand the same token, so that clients of one go on with its successor.
    """
    with ExitStack() as stack:
        yield lambda *args, **options: stack.enter_context(
            EmbeddedNats(*args, **{"token": "of-the-test", **options})
        )


@pytest.fixture
def store() -> Iterator[EventStore]:
    with open_store("memory://") as store:
        yield store


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[EventStore]:
    with open_store(f"sqlite:///{tmp_path}/log.db?synchronous=normal") as store:
        yield store


async def until(condition: Callable[[], object], within: float = 30) -> None:
    """Return once the condition holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - of a thread or a process
            await asyncio.sleep(0.01)


def append(store: EventStore, count: int, *, streams: int = 5, tenant: str = "") -> None:
    """Append `count` events, one at a time, spread over `streams` streams."""
    for number in range(count):
        event = NewEvent(
            StringValue(value=f"event {number}"),
            metadata=Metadata(
                correlation_id=f"corr {number}",
                causation_id="cause-1",
                command_id=f"cmd-{number}",
                principal_id="alice",
                custom={"note": 'ü "quoted" 100%'},
            ),
        )
        store.for_tenant(tenant).append(
            f"Account-{number % streams}", [event], expected_version=ANY
        )
