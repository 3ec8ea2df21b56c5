"""Reading and loading beside the bare query, and pyeventsourcing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, EventStore, NewEvent, open_store
from eskit.store.appending import MAX_POSITION
from eskit.store.repository import Repository
from eskit.store.sqlite.queries import query
from tests.benchmarks import peers
from tests.benchmarks.appending import PAYLOAD
from tests.benchmarks.comparison import Comparison, Target, Timed, compare
from tests.support.ledger import DepositedEvent, Ledger, OpenedEvent

EVENTS = 50_000
PER_STREAM = 100
DEPOSITS = 5_000


def fill(store: EventStore) -> None:
    """`EVENTS` events in streams of `PER_STREAM`."""
    for stream in range(EVENTS // PER_STREAM):
        events = [NewEvent(StringValue(value=PAYLOAD)) for _ in range(PER_STREAM)]
        store.append(f"Account-{stream}", events, expected_version=ANY)


def read_and_decode(store: EventStore) -> Timed:
    """Every event of the log, its message decoded."""

    def run() -> float:
        start = time.perf_counter()
        decoded = 0
        for event in store.read_all():
            event.message  # noqa: B018 - decoded on first use
            decoded += 1
        assert decoded == EVENTS
        return time.perf_counter() - start

    return run


def raw_select(path: Path) -> Timed:
    """The same columns by the same query, row by row, nothing made of them."""
    connection = sqlite3.connect(path)

    def run() -> float:
        start = time.perf_counter()
        rows = connection.execute(query("read_log"), (0, MAX_POSITION, MAX_POSITION, None))
        assert sum(1 for _ in rows) == EVENTS
        return time.perf_counter() - start

    return run


def load(store: EventStore) -> Timed:
    """One aggregate of an opening and `DEPOSITS` deposits, typed, folded, without a snapshot."""
    events = [DepositedEvent(amount=number) for number in range(DEPOSITS)]
    new = [NewEvent(event) for event in (OpenedEvent(owner="Ann"), *events)]
    store.append("Ledger-1", new, expected_version=0)
    ledgers = Repository(store, PlainLedger)

    def run() -> float:
        start = time.perf_counter()
        assert ledgers.load("1").version == DEPOSITS + 1
        return time.perf_counter() - start

    return run


class PlainLedger(Ledger):
    """A ledger that counts its money, as the peer's account does."""

    def on_deposited(self, event: DepositedEvent) -> None:
        self.state.balance += event.amount


def run(folder: Path, rounds: int) -> Iterator[Comparison]:
    """The whole log, and one long stream."""
    path = folder / "log.db"
    bank = peers.open_bank(folder / "peer.db")
    for _ in range(EVENTS // DEPOSITS):
        peers.fill(bank, DEPOSITS - 1, PAYLOAD)
    with open_store(f"sqlite:///{path}?synchronous=normal") as store:
        fill(store)
        yield compare(
            "read the log and decode every message",
            read_and_decode(store),
            floor_name="sqlite3: the same query, row by row, nothing decoded",
            floor=raw_select(path),
            target=Target(kind="speed", bound=0.55),
            rounds=rounds,
            count=EVENTS,
        )
        yield compare(
            "read the log and decode every message",
            read_and_decode(store),
            floor_name="pyeventsourcing: select notifications, to domain events",
            floor=peers.reading(bank, EVENTS),
            target=Target(kind="speed", bound=3.0),
            rounds=max(3, rounds // 3),
            count=EVENTS,
        )
    with open_store(f"sqlite:///{folder / 'ledger.db'}") as store:
        peer = peers.open_bank(folder / "long.db")
        yield compare(
            f"load an aggregate of {DEPOSITS + 1:,} events",
            load(store),
            floor_name="pyeventsourcing: repository.get",
            floor=peers.loading(peer, peers.fill(peer, DEPOSITS, "a note")),
            target=Target(kind="speed", bound=15.0),
            rounds=rounds,
            count=DEPOSITS + 1,
        )
