"""A state that is kept in memory changes only how long loading takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eskit.domain.events import FoldRow, NewEvent
from eskit.operations.erasing import erase
from eskit.store.eventstore import EventStore
from eskit.store.open import open_store
from eskit.store.repository import Repository
from eskit.store.snapshotting import SnapshotPolicy, Snapshotter
from eskit.store.state_cache import LONG, KeptState, StateCache
from tests.support.ledger import DepositedEvent, Ledger, OpenedEvent

STREAM = "Ledger-1"


class Counting(Ledger):
    """A ledger that counts the deposits that were folded."""

    folded = 0

    def on_deposited(self, event: Any) -> None:
        type(self).folded += 1
        self.state.balance += event.amount


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with open_store(f"sqlite:///{tmp_path}/log.db?synchronous=normal") as store:
        yield store


@pytest.fixture
def ledgers(store: EventStore) -> Repository[Counting]:
    deposit(store, LONG)
    return Repository(store, Counting, cache=StateCache())


def deposit(store: EventStore, count: int, *, expected_version: int = 0) -> None:
    opened = [] if expected_version else [NewEvent(OpenedEvent(owner="Ann"))]
    events = [NewEvent(DepositedEvent(amount=1)) for _ in range(count)]
    store.append(STREAM, opened + events, expected_version=expected_version)


def seen(ledger: Ledger) -> tuple[int, int]:
    return ledger.version, ledger.state.balance


@pytest.mark.promise("kept-states-change-nothing")
def test_only_new_events_are_folded_whoever_appended_them(
    store: EventStore, ledgers: Repository[Counting], tmp_path: Path
) -> None:
    first = seen(ledgers.load("1"))
    with open_store(f"sqlite:///{tmp_path}/log.db") as other:
        deposit(other, 3, expected_version=LONG + 1)
    Counting.folded = 0

    found = [seen(ledgers.load("1")), seen(ledgers.load("1"))]

    assert first == (LONG + 1, LONG)
    assert found == [(LONG + 4, LONG + 3)] * 2
    assert Counting.folded == 3


@pytest.mark.promise("kept-states-change-nothing")
def test_a_state_that_a_command_has_changed_without_an_event_is_not_kept(
    ledgers: Repository[Counting],
) -> None:
    for _ in range(2):
        ledgers.load("1").state.balance = 1_000_000

    assert ledgers.load("1").state.balance == LONG


@pytest.mark.promise("kept-states-change-nothing")
@pytest.mark.parametrize("later", [0, 2])
def test_nothing_of_an_erased_stream_comes_back(
    store: EventStore, ledgers: Repository[Counting], later: int
) -> None:
    before = ledgers.load("1").state.owner
    erase(store, [STREAM], reason="asked for", erased_by="alice")
    if later:
        deposit(store, later, expected_version=LONG + 1)

    for _ in range(2):
        ledger = ledgers.load("1")

        assert (before, ledger.state.owner) == ("Ann", "")
        assert seen(ledger) == (LONG + 1 + later, later)


@pytest.mark.promise("kept-states-change-nothing")
def test_a_state_of_another_history_is_not_used(store: EventStore) -> None:
    deposit(store, LONG)
    cache = StateCache()
    other = FoldRow(LONG, "tests.ledger.v1.DepositedEvent", 1, "", b"")
    cache.keep((Ledger, "", STREAM), KeptState(b"", other, 0))

    ledger = Repository(store, Ledger, cache=cache).load("1")

    assert seen(ledger) == (LONG + 1, LONG)


def test_snapshots_are_taken_as_without_kept_states(store: EventStore) -> None:
    snapshots = Snapshotter(store, SnapshotPolicy(every=LONG + 5, keep=1))
    ledgers = Repository(store, Ledger, snapshots=snapshots, cache=StateCache())
    deposit(store, LONG)
    for _ in range(6):
        ledger = ledgers.load("1")
        ledger.deposit(1)
        ledgers.save(ledger)
    snapshots.close()

    assert [snapshot.version >= LONG + 5 for snapshot in store.snapshots.read()] == [True]


def test_short_streams_and_past_versions_are_not_kept(store: EventStore) -> None:
    deposit(store, LONG)
    cache = StateCache()
    ledgers = Repository(store, Ledger, cache=cache)

    past = ledgers.load("1", at_version=LONG)

    assert past.version == LONG
    assert cache.find((Ledger, "", STREAM)) is None


@pytest.mark.promise("kept-states-change-nothing")
def test_the_states_used_last_stay_within_the_memory_they_may_take() -> None:
    row = FoldRow(100, "a", 1, "", bytes(1000))
    kept = KeptState(bytes(1000), row, 0)
    cache = StateCache(most_bytes=3 * kept.size)
    keys = [(Ledger, "", f"Ledger-{number}") for number in range(4)]

    for key in keys[:3]:
        cache.keep(key, kept)
    cache.find(keys[0])
    cache.keep(keys[3], kept)
    cache.keep(keys[3], kept)

    assert [cache.find(key) is not None for key in keys] == [True, False, True, True]

    cache.keep(keys[0], KeptState(bytes(4 * kept.size), row, 0))

    assert cache.find(keys[0]) is None
