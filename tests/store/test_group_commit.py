"""Callers that append at the same time share a commit, and nothing else."""

import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from eskit.clock import SystemClock
from eskit.domain.claims import claim
from eskit.domain.streams import ANY, NO_STREAM
from eskit.errors import ClaimTaken, StoreUnavailable, VersionConflict
from eskit.store.open import open_store
from eskit.store.sqlite import commits
from eskit.store.sqlite.store import SqliteStore
from eskit.testing.store_contract import text, texts


class Gate(SystemClock):
    """A clock that holds the append that reads it until the gate is opened."""

    def __init__(self):
        self.arrived = threading.Event()
        self.opened = threading.Event()

    def microseconds(self) -> int:
        self.arrived.set()
        assert self.opened.wait(20)
        return super().microseconds()


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def store(gate, tmp_path):
    with SqliteStore(tmp_path / "log.db", "sqlite:///log.db", clock=gate) as store:
        yield store
        gate.opened.set()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as pool:
        yield pool


def append(store, stream, *events, expected=ANY):
    return store.append(stream, events or texts("a"), expected_version=expected)


def waiting(store, count):
    deadline = time.monotonic() + 20
    while len(store._writer._waiting) < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def traced(store):
    """The statements of the connection that writes, from now on."""
    statements = []
    store._writer._committer._transaction._connection.set_trace_callback(statements.append)
    return statements


def begins(statements):
    """Wait until somebody tries to: others that come now come late."""
    deadline = time.monotonic() + 20
    while "BEGIN IMMEDIATE" not in statements:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def hold(store, gate, pool):
    """An append that holds the writer until the gate opens."""
    held = pool.submit(append, store, "Account-first")
    assert gate.arrived.wait(20)
    return held


def test_appends_that_wait_together_share_one_commit(store, gate, pool):
    held = hold(store, gate, pool)
    others = [pool.submit(append, store, f"Account-{n}") for n in range(20)]
    waiting(store, 20)
    statements = traced(store)

    gate.opened.set()

    positions = [future.result(20).global_position for future in [held, *others]]
    assert sorted(positions) == list(range(1, 22))
    assert statements.count("COMMIT") == 2


@pytest.mark.promise("errors-are-not-shared")
def test_appends_that_come_while_a_commit_begins_join_it(store, gate, pool):
    held = hold(store, gate, pool)
    others = [pool.submit(append, store, f"Account-{n}") for n in range(3)]
    waiting(store, 3)
    late = []
    statements = []

    def arrive(statement):
        statements.append(statement)
        if statement == "BEGIN IMMEDIATE" and not late:
            late.extend(pool.submit(append, store, f"Account-late-{n}") for n in range(3))
            waiting(store, 2 + 3)  # behind the one that leads

    store._writer._committer._transaction._connection.set_trace_callback(arrive)

    gate.opened.set()

    assert [future.result(20).version for future in [held, *others]] == [1] * 4
    assert [future.result(20).version for future in late] == [1] * 3
    assert statements.count("COMMIT") == 2
    assert len(list(store.read_all())) == 7


def test_who_comes_while_the_file_is_busy_has_a_wait_of_its_own(tmp_path, pool):
    path = tmp_path / "log.db"
    with SqliteStore(path, "sqlite:///log.db", busy_timeout=1) as store:
        append(store, "Account-0")
        statements = traced(store)
        elsewhere = sqlite3.connect(path)
        elsewhere.execute("BEGIN IMMEDIATE")
        first = pool.submit(append, store, "Account-1")
        begins(statements)
        late = pool.submit(append, store, "Account-2")
        waiting(store, 1)

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
    waiting(store, 6)
    stale = pool.submit(append, store, "Account-8", expected=3)
    taken = pool.submit(append, store, "Account-7", text("a", claim("email", "x")))
    waiting(store, 8)

    gate.opened.set()

    assert held.result(20).version == 1
    assert [future.result(20).version for future in [*good, claimed]] == [1] * 6
    with pytest.raises(VersionConflict):
        stale.result(20)
    with pytest.raises(ClaimTaken):
        taken.result(20)
    assert store.count_events() == 7
    assert store.stream_version("Account-7") == 0


def test_work_that_fails_after_it_wrote_leaves_nothing_and_harms_nobody(store, gate, pool):
    def fail_halfway(transaction, _request, *, again):
        transaction.cursor.execute("INSERT INTO checkpoints VALUES ('half', '', 0, '', 0)")
        raise LookupError("in the middle")

    held = hold(store, gate, pool)
    before = [pool.submit(append, store, f"Account-{n}", expected=NO_STREAM) for n in range(3)]
    waiting(store, 3)
    halfway = pool.submit(store._writer.run, fail_halfway)
    waiting(store, 4)
    after = [pool.submit(append, store, f"Order-{n}", expected=NO_STREAM) for n in range(3)]
    waiting(store, 7)

    gate.opened.set()

    assert held.result(20).version == 1
    assert [future.result(20).version for future in before + after] == [1] * 6
    with pytest.raises(LookupError):
        halfway.result(20)
    assert store.list_checkpoints() == []
    assert store.count_events() == 7


def limited(connection):
    """A disk with room for two megabytes, as SQLite sees it."""
    connection.execute("PRAGMA max_page_count = 500")
    return connection


@pytest.mark.promise("errors-are-not-shared")
def test_an_error_that_ends_the_transaction_leaves_the_neighbours_alone(
    store, gate, pool, monkeypatch
):
    connect = commits.connect
    monkeypatch.setattr(commits, "connect", lambda *args, **how: limited(connect(*args, **how)))
    held = hold(store, gate, pool)
    before = [pool.submit(append, store, f"Account-{n}") for n in range(3)]
    waiting(store, 3)
    large = pool.submit(append, store, "Account-large", text("x" * 4_000_000))
    waiting(store, 4)
    after = [pool.submit(append, store, f"Order-{n}") for n in range(3)]
    waiting(store, 7)

    gate.opened.set()

    assert held.result(20).version == 1
    assert [future.result(20).version for future in before + after] == [1] * 6
    with pytest.raises(StoreUnavailable, match="disk is full"):
        large.result(20)
    assert store.count_events() == 7


class LosesTheAnswer:
    """A cursor whose next COMMIT succeeds or not, and fails in any case."""

    def __init__(self, cursor, *, committed):
        self.cursor = cursor
        self.committed = committed

    def __getattr__(self, name):
        return getattr(self.cursor, name)

    def execute(self, statement, *parameters):
        if statement == "COMMIT":
            self.cursor.execute("COMMIT" if self.committed else "ROLLBACK")
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return self.cursor.execute(statement, *parameters)


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.promise("errors-are-not-shared")
def test_a_commit_without_an_answer_neither_fails_falsely_nor_repeats(store, gate, committed):
    gate.opened.set()
    append(store, "Account-1")
    transaction = store._writer._committer._transaction
    transaction._cursor = LosesTheAnswer(transaction._cursor, committed=committed)

    result = append(store, "Account-1", *texts("b", "c"))

    assert (result.version, result.global_position) == (3, 3)
    assert not result.already_processed
    assert store.count_events() == 3


@pytest.mark.parametrize("committed", [True, False])
def test_a_shared_commit_without_an_answer_does_not_either(store, gate, pool, committed):
    held = hold(store, gate, pool)
    others = [pool.submit(append, store, f"Account-{n}", expected=0) for n in range(5)]
    waiting(store, 5)
    # The held append goes on with the connection it has; the batch after it gets this one.
    transaction = store._writer._committer._transaction
    transaction._cursor = LosesTheAnswer(transaction._cursor, committed=committed)

    gate.opened.set()

    assert held.result(20).version == 1
    assert [future.result(20).version for future in others] == [1] * 5
    assert store.count_events() == 6


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
    interrupting = interrupt_main(lambda: waiting(store, 1))

    with pytest.raises(KeyboardInterrupt):
        append(store, "Account-main")
    gate.opened.set()
    interrupting.join(20)

    assert held.result(20).version == 1
    assert append(store, "Account-1").version == 1
    assert store.stream_version("Account-main") == 0


def test_a_leader_interrupted_in_its_transaction_changes_nothing_and_hands_over(store, gate, pool):
    others = []

    def arrange():
        assert gate.arrived.wait(20)
        others.extend(pool.submit(append, store, f"Account-{n}") for n in range(3))
        waiting(store, 3)

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
    waiting(store, 5)

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
