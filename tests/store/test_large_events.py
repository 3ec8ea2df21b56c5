"""Events that are large, and how much of a log is in memory while it is read."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from eskit.domain.events import NewEvent
from eskit.store.eventstore import EventStore
from eskit.store.open import open_store
from tests.support.postgres import new_store, server_url

EVENTS, SIZE = 40, 1_000_000
STREAM = "Film-1"

READS: dict[str, Callable[[EventStore], Iterable[Any]]] = {
    "the log": lambda store: store.read_all(),
    "the log backward": lambda store: store.read_all(backward=True),
    "a type": lambda store: store.read_all(event_types=["google.protobuf.BytesValue"]),
    "a stream": lambda store: store.read_stream(STREAM),
    "a stream backward": lambda store: store.read_stream(STREAM, backward=True),
    "for a projection": lambda store: store.read_log_rows(
        event_types=["google.protobuf.BytesValue"]
    ),
    "for folding": lambda store: store.read_rows(STREAM),
}


postgres = pytest.fixture(scope="session")(server_url)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EventStore]:
    path: Path = tmp_path_factory.mktemp("large") / "log.db"
    url = f"sqlite:///{path}?synchronous=normal"
    if request.param == "postgres":
        url = new_store(request.getfixturevalue("postgres"))
    with open_store(url) as store:
        for version in range(EVENTS):
            event = NewEvent(BytesValue(value=bytes(SIZE)))
            store.append(STREAM, [event], expected_version=version)
        yield store


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_only_a_few_large_events_are_in_memory_at_once(
    store: EventStore, read: Callable[[EventStore], Iterable[Any]]
) -> None:
    tracemalloc.start()
    try:
        count = sum(1 for _ in read(store))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == EVENTS
    assert peak < 15 * SIZE


@pytest.mark.parametrize("limit", [0, 1, 7, EVENTS - 1, EVENTS, EVENTS + 1])
def test_a_limit_counts_events_and_not_pages(store: EventStore, limit: int) -> None:
    wanted = list(range(1, EVENTS + 1))[:limit]

    log = [event.global_position for event in store.read_all(limit=limit)]
    stream = [event.version for event in store.read_stream(STREAM, limit=limit)]
    backward = [event.version for event in store.read_all(limit=limit, backward=True)]

    assert log == stream == wanted
    assert backward == [EVENTS + 1 - version for version in wanted]
