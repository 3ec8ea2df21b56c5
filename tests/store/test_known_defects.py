"""Defects that event stores have had, each with the test that shows this one is free of it."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import EventContext, Projection
from eskit.domain.claims import claim, release
from eskit.domain.commands import Command
from eskit.domain.streams import ANY
from eskit.errors import CommandIdReused, InvalidArgument, StoreUnavailable, VersionConflict
from eskit.operations.claims import check_claims, rebuild_claims
from eskit.operations.pruning import prune_commands
from eskit.projections.engine import ProjectionEngine
from eskit.store.open import open_store
from eskit.store.repository import Repository
from eskit.store.snapshotting import SnapshotPolicy, Snapshotter
from eskit.testing.store_contract import SettableClock, text, texts
from eskit.testing.store_contract.samples import pass_days
from tests.support.ledger import Ledger
from tests.support.stores import memory_store, sqlite_store
from tests.support.writing import connections_that_write

URL = "sqlite:///log.db"


@pytest.fixture
def clock():
    return SettableClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request, clock):
    kind = {
        "memory": lambda: memory_store(clock=clock),
        "sqlite": lambda: sqlite_store(Path("log.db"), URL, clock=clock),
    }
    with kind[request.param]() as store:
        yield store


@pytest.fixture
def ledgers(store):
    return Repository(store, Ledger)


def command(command_id="c1", fingerprint="Open", response=b"first"):
    return Command(id=command_id, fingerprint=fingerprint, response=response)


def steps_of_appends(writing):
    """How many instructions SQLite runs for the first append of a process, and for the next.

    The first looks up all it has to know of the log, the next need not.
    """
    counted = []

    def count():
        counted[-1] += 1

    with open_store(f"{URL}?synchronous=normal") as store:
        store.save_checkpoint("opens-the-connection", position=0, event_id="")
        connection = writing[-1]
        connection.set_progress_handler(count, 1)
        for _ in range(2):
            counted.append(0)
            store.append("Account-7", texts("x"), expected_version=ANY)
        connection.set_progress_handler(None, 0)
    return counted


@pytest.mark.promise("append-cost-is-constant")
def test_the_cost_of_an_append_does_not_grow_with_the_log(monkeypatch):
    writing = connections_that_write(monkeypatch)
    with open_store(f"{URL}?synchronous=normal") as store:
        for stream in range(10):
            store.append(f"Account-{stream}", texts(*"x" * 10), expected_version=0)
    small = steps_of_appends(writing)
    with open_store(f"{URL}?synchronous=normal") as store:
        for stream in range(10):
            store.append(f"Account-{stream}", texts(*"x" * 2_000), expected_version=ANY)
    large = steps_of_appends(writing)

    assert 0 < large[0] <= small[0] * 1.3
    assert 0 < large[1] <= small[1] * 1.3


def test_a_forgotten_command_id_runs_again_without_colliding(store, clock):
    store.append("Account-1", texts("a"), expected_version=0, command=command())
    pass_days(store, clock, 8)
    assert prune_commands(store).commands == 1

    again = store.append(
        "Account-1", texts("b"), expected_version=1, command=command(response=b"second")
    )

    assert (again.version, again.already_processed, again.response) == (2, False, b"second")
    assert store.find_command("c1").response == b"second"
    assert len({event.event_id for event in store.read_all()}) == 2


def test_a_command_is_done_once_although_the_clock_was_corrected(store, clock):
    clock.move(days=-21_915)
    store.append("Account-1", texts("a"), expected_version=0, command=command())
    clock.move(days=21_915)

    for _ in range(2):
        again = store.append("Account-1", texts("a"), expected_version=0, command=command())
        assert (again.version, again.already_processed) == (1, True)
        assert prune_commands(store).commands == 0


def test_a_command_of_a_machine_that_lost_its_time_is_not_forgotten_before_others(store, clock):
    pass_days(store, clock, 8)
    store.append("Account-1", texts("a"), expected_version=0)
    clock.move(days=-21_915)
    store.append("Account-1", texts("b"), expected_version=1, command=command())
    clock.move(days=21_915)
    store.append("Account-1", texts("c"), expected_version=2, command=command("c2"))

    prune_commands(store)

    assert store.append("Account-1", [], expected_version=ANY, command=command()).already_processed


def test_a_second_save_under_one_command_has_event_ids_of_its_own(store, ledgers):
    ledger = Ledger("1")
    ledger.deposit(1)
    ledgers.save(ledger, command=command("c1"))
    ledger.deposit(2)
    ledgers.save(ledger, command=command("c2"))
    ledger.deposit(3)
    ledgers.save(ledger)

    ids = [event.event_id for event in store.read_stream("Ledger-1")]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(("stream", "fingerprint"), [("Account-2", "Open"), ("Account-1", "Close")])
def test_a_command_id_for_something_else_is_refused(store, stream, fingerprint):
    store.append("Account-1", texts("a"), expected_version=0, command=command())

    with pytest.raises(CommandIdReused):
        store.append(
            stream, texts("b"), expected_version=ANY, command=command(fingerprint=fingerprint)
        )

    assert store.count_events() == 1


def test_an_aggregate_is_usable_after_a_repeated_command(store, ledgers):
    first = Ledger("1")
    first.deposit(5)
    first.deposit(7)
    ledgers.save(first, command=command())
    again = Ledger("1")
    again.deposit(99)

    result = ledgers.save(again, command=command())

    assert result.already_processed
    assert (again.version, again.state.balance) == (2, 12)
    again.deposit(1)
    ledgers.save(again)
    assert ledgers.load("1").version == again.version == 3
    assert ledgers.load("1").state.balance == again.state.balance == 13


def test_a_command_that_changed_nothing_is_answered_again(store):
    store.append("Account-1", [], expected_version=0, command=command())

    again = store.append("Account-1", [], expected_version=0, command=command(response=b"other"))

    assert (again.already_processed, again.response) == (True, b"first")


def test_a_failed_save_leaves_the_aggregate_as_it_was(store, ledgers):
    ledger = Ledger("1")
    ledger.deposit(5)
    store.append("Ledger-1", texts("x"), expected_version=0)

    for _ in range(2):
        with pytest.raises(VersionConflict):
            ledgers.save(ledger)

    assert (ledger.version, ledger.state.balance) == (1, 5)


def test_a_race_lost_to_another_connection_is_a_version_conflict():
    with open_store(URL) as one, open_store(URL) as other:
        assert one.stream_version("Account-1") == other.stream_version("Account-1") == 0
        other.append("Account-1", texts("b"), expected_version=0)

        with pytest.raises(VersionConflict) as lost:
            one.append("Account-1", texts("a"), expected_version=0)

    assert (lost.value.expected, lost.value.actual) == (0, 1)


def test_a_busy_database_is_unavailable_by_name():
    with open_store(f"{URL}?busy_timeout=0.05") as store:
        other = sqlite3.connect("log.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreUnavailable, match="locked by another process"):
            store.append("Account-1", texts("a"), expected_version=0)

        other.close()
        assert store.append("Account-1", texts("a"), expected_version=0).version == 1


def test_snapshots_are_saved_and_read_by_the_repository(store):
    snapshotter = Snapshotter(store, SnapshotPolicy(every=3))
    snapshotting = Repository(store, Ledger, snapshots=snapshotter)
    ledger = Ledger("1")
    for amount in (1, 2, 3):
        ledger.deposit(amount)
    snapshotting.save(ledger)
    snapshotter.close()

    (snapshot,) = store.snapshots.read()
    loaded = snapshotting.load("1")

    assert snapshot.version == loaded.version == 3
    assert loaded.state == Repository(store, Ledger).load("1").state


def test_claims_are_rebuilt_in_the_order_of_positions(store):
    def hand_over(value, start, end):
        store.append(start, [text("r", release("name", value))], expected_version=ANY)
        store.append(end, [text("c", claim("name", value))], expected_version=ANY)

    for value in "xy":
        store.append("Account-1", [text("c", claim("name", value))], expected_version=ANY)
    for _ in range(20):  # all of them within one moment of the clock
        for value in "xy":
            hand_over(value, "Account-1", "Account-2")
            hand_over(value, "Account-2", "Account-1")
    hand_over("y", "Account-1", "Account-2")

    assert check_claims(store).count == 0
    assert rebuild_claims(store).count == 0
    assert store.find_claim("name", "x") == "Account-1"
    assert store.find_claim("name", "y") == "Account-2"


def test_the_schema_version_can_be_asked_for():
    with open_store(URL) as store:
        reported = store.info().schema_version
    with closing(sqlite3.connect("log.db")) as connection, connection:
        (stored,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()

    assert reported == stored > 0


def test_versions_are_the_stores_own_and_times_keep_their_microseconds(store, clock):
    clock.move(microseconds=123_457)
    store.append("Account-1", texts("a", "b"), expected_version=0)
    store.append("Account-1", texts("c"), expected_version=2)

    events = list(store.read_stream("Account-1"))

    assert [(event.stream, event.version) for event in events] == [
        ("Account-1", version) for version in (1, 2, 3)
    ]
    assert {event.recorded_at for event in events} == {clock.now}
    assert clock.now.microsecond == 123_457
    with pytest.raises(InvalidArgument):
        store.append("Account-1", [text("x", claim("name", "\ud800"))], expected_version=3)


def test_every_connection_waits_and_the_writer_takes_the_lock_before_it_reads(monkeypatch):
    writing = connections_that_write(monkeypatch)
    with open_store(f"{URL}?synchronous=full") as store:
        store.append("Account-1", texts("a"), expected_version=0)
        seen = []
        writing[-1].set_trace_callback(seen.append)
        store.append("Account-1", texts("b"), expected_version=1)
        with store._storage._readers.borrow() as one, store._storage._readers.borrow() as other:
            settings = [
                [reader.execute(f"PRAGMA {name}").fetchone()[0] for reader in (one, other)]
                for name in ("journal_mode", "busy_timeout", "query_only")
            ]

    assert seen[0] == "BEGIN IMMEDIATE"
    assert settings == [["wal", "wal"], [5000, 5000], [1, 1]]


def test_a_handler_that_reads_the_store_does_not_block_it(store, tmp_path):
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_seen.sql").write_text("CREATE TABLE seen (n INTEGER);\n")
    reading = Projection("reading", migrations=tmp_path / "migrations")

    @reading.on(StringValue)
    def seen(_event: StringValue, context: EventContext) -> None:
        store.append("Other-1", [], expected_version=ANY)
        context.db.execute("INSERT INTO seen VALUES (?)", (store.stream_version("Account-1"),))

    store.append("Account-1", texts(*"abc"), expected_version=0)
    engine = ProjectionEngine(store, [reading], f"sqlite:///{tmp_path / 'read.db'}")
    running = threading.Thread(target=engine.run, daemon=True)
    running.start()
    running.join(20)

    assert not running.is_alive()
    with engine.reader() as db:
        assert list(db.execute("SELECT n FROM seen")) == [(3,)] * 3
    engine.close()


def test_every_time_comes_from_the_one_clock(store, clock):
    result = store.append("Account-1", texts("a"), expected_version=0, command=command())
    (event,) = store.read_all()
    store.save_checkpoint("relay", position=result.global_position, event_id=event.event_id)
    ledger = Ledger("1")
    ledger.deposit(1)
    snapshotter = Snapshotter(store, SnapshotPolicy(every=1))
    Repository(store, Ledger, snapshots=snapshotter).save(ledger)
    snapshotter.close()
    (snapshot,) = store.snapshots.read()
    checkpoint = store.find_checkpoint("relay")

    assert event.recorded_at == checkpoint.updated_at == snapshot.created_at == clock.now
    pass_days(store, clock, 8)
    assert prune_commands(store).commands == 1
    assert store.find_command("c1") is None
