"""Callers that append at the same time share a commit, and nothing else."""

import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from eskit.domain.claims import claim
from eskit.domain.streams import ANY, NO_STREAM
from eskit.errors import ClaimTaken, RecordChanged, StoreUnavailable, VersionConflict
from eskit.store.open import open_store
from eskit.store.sqlite import kept
from eskit.testing.store_contract import number, text, texts
from tests.support.stores import sqlite_store
from tests.support.writing import Gate, LosesAnAnswer, connections_that_write, until


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def writing(monkeypatch):
    """The connections that write."""
    return connections_that_write(monkeypatch)


@pytest.fixture
def store(gate, writing, tmp_path):
    with sqlite_store(tmp_path / "log.db", "sqlite:///log.db", clock=gate) as store:
        yield store
        gate.opened.set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as pool:
        yield pool


def append(store, stream, *events, expected=ANY):
    return store.append(stream, events or texts("a"), expected_version=expected)


def traced(writing):
    """The statements of the connection that writes, from now on."""
    statements = []
    writing[-1].set_trace_callback(statements.append)
    return statements


def hold(store, gate, pool):
    """An append that holds the writer until the gate opens."""
    gate.shut()
    held = pool.submit(append, store, "Account-first")
    assert gate.arrived.wait(20)
    return held


def test_appends_that_wait_together_share_one_commit(store, gate, pool, writing):
    held = hold(store, gate, pool)
    others = [pool.submit(append, store, f"Account-{n}") for n in range(20)]
    gate.wait_for_callers(20)
    statements = traced(writing)

    gate.opened.set()

    positions = [future.result(20).global_position for future in [held, *others]]
    assert sorted(positions) == list(range(1, 22))
    assert statements.count("COMMIT") == 2


@pytest.mark.promise("errors-are-not-shared")
def test_appends_that_come_while_a_commit_begins_join_it(store, gate, pool, writing):
    held = hold(store, gate, pool)
    others = [pool.submit(append, store, f"Account-{n}") for n in range(3)]
    gate.wait_for_callers(3)
    late = []
    statements = []

    def arrive(statement):
        statements.append(statement)
        if statement == "BEGIN IMMEDIATE" and not late:
            late.extend(pool.submit(append, store, f"Account-late-{n}") for n in range(3))
            gate.wait_for_callers(3 + 3)

    writing[-1].set_trace_callback(arrive)

    gate.opened.set()

    assert [future.result(20).version for future in [held, *others]] == [1] * 4
    assert [future.result(20).version for future in late] == [1] * 3
    assert statements.count("COMMIT") == 2
    assert len(list(store.read_all())) == 7


def test_who_comes_while_the_file_is_busy_has_a_wait_of_its_own(tmp_path, pool, gate, writing):
    path = tmp_path / "log.db"
    with sqlite_store(path, "sqlite:///log.db", busy_timeout=1, clock=gate) as store:
        append(store, "Account-0")
        statements = traced(writing)
        elsewhere = sqlite3.connect(path)
        elsewhere.execute("BEGIN IMMEDIATE")
        first = pool.submit(append, store, "Account-1")
        until(lambda: "BEGIN IMMEDIATE" in statements)
        late = pool.submit(append, store, "Account-2")
        gate.wait_for_callers(1)

        with pytest.raises(StoreUnavailable, match="locked by another process"):
            first.result(20)
        elsewhere.rollback()

        assert late.result(20).version == 1
        elsewhere.close()


@pytest.mark.promise("errors-are-not-shared")
def test_an_error_is_only_its_callers(store, gate, pool):
    held = hold(store, gate, pool)
    good = [pool.submit(append, store, f"Account-{n}", expected=NO_STREAM) for n in range(5)]
    claimed = pool.submit(append, store, "Account-9", text("a", claim("email", "x")))
    gate.wait_for_callers(6)
    stale = pool.submit(append, store, "Account-8", expected=3)
    taken = pool.submit(append, store, "Account-7", text("a", claim("email", "x")))
    gate.wait_for_callers(8)

    gate.opened.set()

    assert held.result(20).version == 1
    assert [future.result(20).version for future in [*good, claimed]] == [1] * 6
    with pytest.raises(VersionConflict):
        stale.result(20)
    with pytest.raises(ClaimTaken):
        taken.result(20)
    assert store.count_events() == 7
    assert store.stream_version("Account-7") == 0


def test_work_that_fails_after_it_wrote_leaves_nothing_and_harms_nobody(
    store, gate, pool, monkeypatch
):
    save_schemas = kept.save_schemas

    def fail_halfway(cursor, schemas):
        if any("Int64Value" in schema.event_type for schema in schemas):
            raise LookupError("in the middle")
        save_schemas(cursor, schemas)

    monkeypatch.setattr(kept, "save_schemas", fail_halfway)
    held = hold(store, gate, pool)
    before = [pool.submit(append, store, f"Account-{n}", expected=NO_STREAM) for n in range(3)]
    gate.wait_for_callers(3)
    halfway = pool.submit(append, store, "Account-half", number(1))
    gate.wait_for_callers(4)
    after = [pool.submit(append, store, f"Order-{n}", expected=NO_STREAM) for n in range(3)]
    gate.wait_for_callers(7)

    gate.opened.set()

    assert held.result(20).version == 1
    assert [future.result(20).version for future in before + after] == [1] * 6
    with pytest.raises(LookupError):
        halfway.result(20)
    assert store.stream_version("Account-half") == 0
    assert store.count_events() == 7


def limited(connection):
    """A disk with room for two megabytes, as SQLite sees it."""
    connection.execute("PRAGMA max_page_count = 500")
    return connection


@pytest.mark.promise("errors-are-not-shared")
def test_an_error_that_ends_the_transaction_leaves_the_neighbours_alone(
    gate, pool, monkeypatch, tmp_path
):
    connections_that_write(monkeypatch, limited)
    with sqlite_store(tmp_path / "log.db", "sqlite:///log.db", clock=gate) as store:
        held = hold(store, gate, pool)
        before = [pool.submit(append, store, f"Account-{n}") for n in range(3)]
        gate.wait_for_callers(3)
        large = pool.submit(append, store, "Account-large", text("x" * 4_000_000))
        gate.wait_for_callers(4)
        after = [pool.submit(append, store, f"Order-{n}") for n in range(3)]
        gate.wait_for_callers(7)

        gate.opened.set()

        assert held.result(20).version == 1
        assert [future.result(20).version for future in before + after] == [1] * 6
        with pytest.raises(StoreUnavailable, match="disk is full"):
            large.result(20)
        assert store.count_events() == 7


@pytest.fixture
def forgetful(gate, monkeypatch, tmp_path):
    """A store, and the connections with which it writes, which can lose an answer."""
    made = connections_that_write(monkeypatch, LosesAnAnswer)
    with sqlite_store(tmp_path / "log.db", "sqlite:///log.db", clock=gate) as store:
        yield store, made
        gate.opened.set()


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.promise("errors-are-not-shared")
def test_a_commit_without_an_answer_neither_fails_falsely_nor_repeats(forgetful, committed):
    store, made = forgetful
    append(store, "Account-1")
    made[-1].arm(committed=committed)

    result = append(store, "Account-1", *texts("b", "c"))

    assert (result.version, result.global_position) == (3, 3)
    assert not result.already_processed
    assert store.count_events() == 3


@pytest.mark.parametrize("committed", [True, False])
def test_a_shared_commit_without_an_answer_does_not_either(forgetful, gate, pool, committed):
    store, made = forgetful
    held = hold(store, gate, pool)
    others = [pool.submit(append, store, f"Account-{n}", expected=0) for n in range(5)]
    gate.wait_for_callers(5)
    submitted = [store.submit(f"Order-{n}", texts("a"), expected_version=0) for n in range(5)]

    made[-1].arm(committed=committed, after=1)  # the held append is committed first
    gate.opened.set()

    assert held.result(20).version == 1
    assert [future.result(20).version for future in others + submitted] == [1] * 10
    assert store.count_events() == 11


@pytest.mark.parametrize("committed", [True, False])
def test_what_else_is_kept_with_the_log_is_not_repeated_either(forgetful, committed):
    store, made = forgetful
    store.save_record("kind", "key", "1", expected_revision=0)

    made[-1].arm(committed=committed)
    assert store.save_record("kind", "key", "2", expected_revision=1) == 2
    made[-1].arm(committed=committed)
    store.delete_record("kind", "key", expected_revision=2)

    assert store.find_record("kind", "key") is None
    with pytest.raises(RecordChanged):
        store.save_record("kind", "key", "3", expected_revision=2)


def interrupt_main(when):
    """Send Ctrl-C to the main thread when `when()` has returned."""

    def run():
        when()
        time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.promise("interrupts-are-safe")
def test_a_caller_interrupted_while_it_waits_is_withdrawn(store, gate, pool):
    held = hold(store, gate, pool)
    interrupting = interrupt_main(lambda: gate.wait_for_callers(1))

    with pytest.raises(KeyboardInterrupt):
        append(store, "Account-main")
    gate.opened.set()
    interrupting.join(20)

    assert held.result(20).version == 1
    assert append(store, "Account-1").version == 1
    assert store.stream_version("Account-main") == 0


@pytest.mark.promise("interrupts-are-safe")
def test_a_caller_interrupted_while_others_commit_its_append_is_told_when_that_is_done(
    store, gate, pool
):
    def arrange():
        gate.wait_for_callers(1)
        gate.let_one_pass()  # the one that holds the writer
        assert gate.arrived.wait(20)

    held = hold(store, gate, pool)
    interrupting = interrupt_main(arrange)
    opening = pool.submit(lambda: (interrupting.join(20), gate.opened.set()))
    with pytest.raises(KeyboardInterrupt):
        append(store, "Account-main")

    assert store.stream_version("Account-main") == 1
    assert held.result(20).version == 1
    opening.result(20)


def test_a_caller_interrupted_in_its_transaction_changes_nothing_and_holds_up_nobody(
    store, gate, pool
):
    others = []

    def arrange():
        assert gate.arrived.wait(20)
        others.extend(pool.submit(append, store, f"Account-{n}") for n in range(3))
        gate.wait_for_callers(3)

    gate.shut()
    interrupting = interrupt_main(arrange)
    with pytest.raises(KeyboardInterrupt):
        append(store, "Account-main")
    gate.opened.set()
    interrupting.join(20)

    assert [future.result(20).version for future in others] == [1] * 3
    assert store.stream_version("Account-main") == 0
    assert append(store, "Account-main").version == 1


def test_many_interrupts_never_hang_and_lose_nothing_acknowledged(pool):
    acknowledged = []
    stop = threading.Event()
    with open_store("sqlite:///log.db?synchronous=normal") as store:

        def write(writer):
            while not stop.is_set():
                append(store, f"Account-{writer}")

        writers = [pool.submit(write, writer) for writer in range(4)]
        interrupted = 0
        while interrupted < 40:
            timer = threading.Timer(
                0.002, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)
            )
            try:
                timer.start()
                while True:
                    result = append(store, "Account-main")
                    acknowledged.append(result.version)
            except KeyboardInterrupt:
                interrupted += 1
            timer.join()
        stop.set()
        for future in writers:
            future.result(20)

        stored = {event.version for event in store.read_stream("Account-main")}
        positions = [event.global_position for event in store.read_all()]

    assert set(acknowledged) <= stored
    assert len(acknowledged) == len(set(acknowledged))
    assert positions == list(range(1, len(positions) + 1))


def test_close_finishes_what_waits_and_refuses_what_comes_later(store, gate, pool):
    held = hold(store, gate, pool)
    others = [pool.submit(append, store, f"Account-{n}") for n in range(5)]
    gate.wait_for_callers(5)

    closing = pool.submit(store.close)
    gate.opened.set()
    closing.result(20)

    assert [future.result(20).version for future in [held, *others]] == [1] * 6
    with pytest.raises(StoreUnavailable, match="closed"):
        append(store, "Account-late")
    with open_store("sqlite:///log.db") as again:
        assert again.count_events() == 6


def test_the_write_ahead_log_does_not_grow_without_end(tmp_path):
    largest = 0
    with open_store("sqlite:///log.db?synchronous=normal") as store:
        for _ in range(400):
            append(store, "Account-1", text("x" * 50_000))
            largest = max(largest, (tmp_path / "log.db-wal").stat().st_size)

        assert store.count_events() == 400
    assert largest < 8_000_000
