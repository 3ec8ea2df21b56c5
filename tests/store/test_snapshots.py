"""Snapshots: taken on the side, used when they fit, never trusted blindly."""

import logging
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from eskit.domain.events import FoldRow
from eskit.errors import InvalidArgument, StoreUnavailable
from eskit.store.eventstore import EventStore
from eskit.store.memory import MemoryStorage
from eskit.store.open import open_store
from eskit.store.repository import Repository
from eskit.store.snapshotting import (
    SnapshotPolicy,
    Snapshotter,
    check_snapshot,
    state_schema,
    take,
)
from tests.store.operations.damaging import overwrite_root
from tests.support.ledger import UPCASTERS, Ledger, LedgerState, OpenedEvent

URL = "sqlite:///log.db"


class CountingStorage(MemoryStorage):
    """Counts the rows that are read for folding, and keeps no snapshot until it may."""

    def __init__(self):
        super().__init__()
        self.rows = 0
        self.may_keep = threading.Event()
        self.may_keep.set()

    def read(self, select, size):
        page = super().read(select, size)
        self.rows += len(page) if select.shape is FoldRow else 0
        return page

    def keep(self, put=(), drop=(), *, under=None):
        assert self.may_keep.wait(20)
        return super().keep(put, drop, under=under)


class Redefined(Ledger):
    """Another meaning of the same events, and it says so."""

    fold_version: ClassVar[int] = 2

    def on_deposited(self, event):
        self.state.balance += 2 * event.amount


class Forgotten(Redefined):
    """Another meaning of the same events, and nobody raised the fold version."""

    fold_version: ClassVar[int] = 1


@pytest.fixture
def storage():
    return CountingStorage()


@pytest.fixture
def store(storage):
    with EventStore(storage) as store:
        yield store


def repository(store, kind=Ledger, policy=None):
    snapshotter = Snapshotter(store, policy or SnapshotPolicy(every=10))
    return Repository(store, kind, UPCASTERS, snapshots=snapshotter), snapshotter


def deposit(store, count, *, policy=None, ledger_id="1"):
    """So many deposits of 1, each loaded, saved and its snapshot waited for."""
    for _ in range(count):
        ledgers, snapshotter = repository(store, policy=policy)
        ledger = ledgers.find(ledger_id) or Ledger(ledger_id)
        ledger.deposit(1)
        ledgers.save(ledger)
        snapshotter.close()


def execute(statement):
    """Change the file behind the store's back."""
    connection = sqlite3.connect("log.db")
    with connection:
        connection.execute(statement)
    connection.close()


def versions(store):
    return [snapshot.version for snapshot in store.snapshots.read()]


def test_a_snapshot_holds_only_what_events_gave(store):
    ledgers, snapshotter = repository(store, policy=SnapshotPolicy(every=1))
    ledger = Ledger("1")
    ledger.deposit(1)
    ledger.state.balance += 1_000
    ledgers.save(ledger)
    snapshotter.close()

    (snapshot,) = store.snapshots.read()

    assert check_snapshot(store, snapshot, Ledger, UPCASTERS).verdict == "ok"
    assert repository(store)[0].load("1").state.balance == 1


def test_a_snapshot_is_taken_every_so_many_events_and_the_newest_stay(store):
    deposit(store, 45)

    assert versions(store) == [30, 40]


@pytest.mark.promise("snapshots-change-nothing")
def test_a_load_goes_on_from_the_newest_snapshot(store, storage):
    deposit(store, 23)
    storage.rows = 0

    ledger = repository(store)[0].load("1")

    assert (ledger.version, ledger.state.balance, storage.rows) == (23, 23, 3)
    assert ledger.state == Repository(store, Ledger).load("1").state


def test_a_load_at_a_version_uses_only_what_was_taken_before_it(store, storage):
    deposit(store, 25)
    storage.rows = 0

    ledger = repository(store)[0].load("1", at_version=17)

    assert (ledger.version, ledger.state.balance, storage.rows) == (17, 17, 7)


def test_a_load_at_a_time_folds_every_event(store):
    deposit(store, 12)
    last = list(store.read_stream("Ledger-1"))[-1]

    ledger = repository(store)[0].load("1", at=last.recorded_at)

    assert ledger.version == 12


def test_a_snapshot_of_another_fold_version_is_ignored_and_replaced(store):
    deposit(store, 10)
    ledgers, snapshotter = repository(store, Redefined)

    ledger = ledgers.load("1")
    ledger.deposit(1)
    ledgers.save(ledger)
    snapshotter.close()

    assert ledger.state.balance == 22
    assert [(s.version, s.fold_version) for s in store.snapshots.read()] == [(10, 1), (11, 2)]


def test_a_snapshot_of_another_schema_of_the_state_is_ignored(store):
    deposit(store, 10)
    (snapshot,) = store.snapshots.read()
    foreign = replace(snapshot, schema=state_schema(OpenedEvent), state=b"\xff")
    store.snapshots.save(foreign, keep=1)

    assert repository(store)[0].load("1").state.balance == 10


def test_the_schema_of_a_state_covers_the_messages_inside_it():
    assert state_schema(LedgerState) == state_schema(LedgerState)
    assert state_schema(LedgerState) != state_schema(OpenedEvent)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": b"\x12\x03Bob"}, "is damaged"),
        ({"state": b"\xff\xff"}, "is damaged"),
    ],
)
@pytest.mark.promise("snapshots-change-nothing")
def test_a_damaged_snapshot_is_a_warning_and_the_stream_is_replayed(store, caplog, change, reason):
    deposit(store, 12)
    (snapshot,) = store.snapshots.read()
    store.snapshots.save(replace(snapshot, **change), keep=1)

    with caplog.at_level(logging.WARNING):
        ledger = repository(store)[0].load("1")

    assert (ledger.version, ledger.state.balance) == (12, 12)
    assert f"Ledger-1 at version 10 {reason}" in caplog.text


DAMAGED_ROWS = [
    "UPDATE snapshots SET event_id = x'00'",
    "UPDATE snapshots SET created_at = 1 << 62",
    "UPDATE snapshots SET created_at = 'then'",
    "UPDATE snapshots SET state = 'abc'",
    "UPDATE snapshots SET state = CAST(x'ff' AS TEXT)",
    "UPDATE snapshots SET checksum = x'00'",
    "UPDATE snapshots SET version = -1",
]


@pytest.mark.parametrize("change", DAMAGED_ROWS)
@pytest.mark.promise("snapshots-change-nothing")
def test_a_row_that_cannot_be_a_snapshot_is_a_warning_and_the_stream_is_replayed(caplog, change):
    with open_store(URL) as store:
        deposit(store, 12)
    execute(change)

    with open_store(URL) as store, caplog.at_level(logging.WARNING):
        ledger = repository(store)[0].load("1")

    assert (ledger.version, ledger.state.balance) == (12, 12)
    assert "is damaged; the stream is replayed instead" in caplog.text


@pytest.mark.promise("snapshots-change-nothing")
def test_a_damaged_page_of_snapshots_is_a_warning_and_the_stream_is_replayed(caplog):
    with open_store(URL) as store:
        deposit(store, 12)
    overwrite_root(Path("log.db"), "snapshots")

    with open_store(URL) as store, caplog.at_level(logging.WARNING):
        ledger = repository(store)[0].load("1")

    assert (ledger.version, ledger.state.balance) == (12, 12)
    assert "No snapshot of Ledger-1 can be read" in caplog.text


@pytest.mark.parametrize("change", DAMAGED_ROWS)
def test_checking_finds_a_row_that_cannot_be_a_snapshot(change):
    with open_store(URL) as store:
        deposit(store, 12)
        execute(change)

        (snapshot,) = store.snapshots.read()

        assert not snapshot.readable
        assert check_snapshot(store, snapshot, Ledger).verdict == "damaged"


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE snapshots SET version = 99", "is ahead of the stream"),
        ("UPDATE snapshots SET event_id = x'00112233445566778899aabbccddeeff'", "another history"),
    ],
)
@pytest.mark.promise("snapshots-change-nothing")
def test_a_snapshot_that_the_log_does_not_confirm_is_a_warning(caplog, statement, reason):
    with open_store(URL) as store:
        deposit(store, 12)
    execute(statement)

    with open_store(URL) as store, caplog.at_level(logging.WARNING):
        ledger = repository(store)[0].load("1")

    assert (ledger.version, ledger.state.balance) == (12, 12)
    assert reason in caplog.text


def test_a_snapshot_that_cannot_be_saved_is_a_warning_and_no_failure(
    store, storage, caplog, monkeypatch
):
    deposit(store, 9)
    ledgers, snapshotter = repository(store)
    ledger = ledgers.load("1")
    ledger.deposit(1)
    monkeypatch.setattr(storage, "keep", refuse)

    ledgers.save(ledger)
    snapshotter.close()

    assert store.stream_version("Ledger-1") == 10
    assert "No snapshot of Ledger-1: no room" in caplog.text


def refuse(*_rows):
    raise StoreUnavailable("no room")


@pytest.mark.promise("snapshots-delay-no-append")
def test_an_append_does_not_wait_for_the_snapshot(store, storage):
    deposit(store, 9)
    storage.may_keep.clear()
    ledgers, snapshotter = repository(store)
    ledger = ledgers.load("1")
    ledger.deposit(1)

    ledgers.save(ledger)

    assert (store.stream_version("Ledger-1"), versions(store)) == (10, [])
    storage.may_keep.set()
    snapshotter.close()
    assert versions(store) == [10]


@pytest.mark.parametrize("policy", [{"every": 0}, {"every": 1, "keep": 0}])
def test_a_policy_that_can_never_work_is_refused(policy):
    with pytest.raises(InvalidArgument):
        SnapshotPolicy(**policy)


@pytest.mark.promise("snapshots-change-nothing")
def test_checking_finds_a_fold_version_that_nobody_raised(store):
    deposit(store, 10)
    (snapshot,) = store.snapshots.read()

    standings = [
        check_snapshot(store, snapshot, kind, UPCASTERS).verdict
        for kind in (Ledger, Redefined, Forgotten)
    ]

    assert standings == ["ok", "stale", "different"]


def test_checking_finds_damage_and_what_is_ahead(store):
    deposit(store, 10)
    (snapshot,) = store.snapshots.read()

    damaged = check_snapshot(store, replace(snapshot, state=b"\xff"), Ledger)
    ahead = check_snapshot(store, replace(snapshot, version=11), Ledger)

    assert (damaged.verdict, ahead.verdict) == ("damaged", "ahead")


def test_a_snapshot_taken_by_hand_is_that_of_the_loaded_aggregate(store):
    deposit(store, 3)
    ledger = Repository(store, Ledger).load("1")
    last = list(store.read_stream("Ledger-1"))[-1]

    store.snapshots.save(
        take(ledger, event_id=last.event_id, tenant="", at=last.recorded_at), keep=1
    )

    assert versions(store) == [3]
    assert check_snapshot(store, next(store.snapshots.read()), Ledger).verdict == "ok"
