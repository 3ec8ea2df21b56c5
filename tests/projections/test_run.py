"""Events to rows: once each, in order, whatever the batches are."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest

from eskit import ANY, EventStore, NewEvent, Projection, upcast
from eskit.domain.upcasting import Upcasters
from eskit.errors import ProjectionError, ReadModelUnavailable
from eskit.projections.engine import ProjectionEngine
from eskit.projections.following import BatchLimits
from eskit.testing.store_contract import SettableClock
from tests.projections.conftest import counting, execute, rows
from tests.support.account_events import (
    AccountClosed,
    AccountOpened,
    CentsDeposited,
    Counted,
    MoneyDeposited,
    MoneyWithdrawn,
    NoteAdded,
)
from tests.support.coded import coded
from tests.support.stores import sqlite_store


def count(n: int, *, keys: int = 7) -> list:
    return [Counted(key=f"k{i % keys}", amount=i) for i in range(n)]


def test_a_projection_over_several_aggregates_tells_one_story(engine_of, append, tmp_path):
    """The generic cross-domain projection."""
    folder = tmp_path / "customer_activity"
    folder.mkdir()
    (folder / "0001_customer_activity.sql").write_text(
        """
        CREATE TABLE customer_activity (
            customer_id TEXT PRIMARY KEY, account_id TEXT, account_balance TEXT,
            account_status TEXT, total_deposits INTEGER DEFAULT 0,
            total_withdrawals INTEGER DEFAULT 0, last_activity_type TEXT, last_activity_at INTEGER,
            notes INTEGER DEFAULT 0
        );
        """
    )
    activity = Projection("customer-activity", migrations=folder)

    @activity.on(AccountOpened)
    def opened(event, context):
        execute(
            context.db,
            "INSERT INTO customer_activity (customer_id, account_id, account_balance, "
            "account_status, last_activity_type, last_activity_at) "
            "VALUES (?, ?, ?, 'OPEN', 'account_opened', ?)",
            f"customer-{event.owner_name}",
            event.account_id,
            event.opening_amount,
            event.timestamp,
        )

    @activity.on(MoneyDeposited)
    def deposited(event, context):
        execute(
            context.db,
            "UPDATE customer_activity SET account_balance = ?, last_activity_type = 'deposit', "
            "total_deposits = total_deposits + 1, last_activity_at = ? WHERE account_id = ?",
            event.new_balance,
            event.timestamp,
            event.account_id,
        )

    @activity.on(MoneyWithdrawn)
    def withdrawn(event, context):
        execute(
            context.db,
            "UPDATE customer_activity SET account_balance = ?, last_activity_type = 'withdrawal', "
            "total_withdrawals = total_withdrawals + 1, last_activity_at = ? WHERE account_id = ?",
            event.new_balance,
            event.timestamp,
            event.account_id,
        )

    @activity.on(AccountClosed)
    def closed(event, context):
        execute(
            context.db,
            "UPDATE customer_activity SET account_status = 'CLOSED', last_activity_at = ?, "
            "last_activity_type = 'account_closed' WHERE account_id = ?",
            event.timestamp,
            event.account_id,
        )

    @activity.on(NoteAdded)
    def noted(event, context):
        context.db.execute("UPDATE customer_activity SET notes = notes + 1")

    alice = "acc-alice-001"
    append(
        AccountOpened(account_id=alice, owner_name="Alice", opening_amount="1000.00"),
        MoneyDeposited(account_id=alice, amount="500", new_balance="1500.00"),
    )
    append(NoteAdded(text="likes round numbers"), stream="Note-1")
    append(
        MoneyWithdrawn(account_id=alice, amount="200", new_balance="1300.00"),
        MoneyDeposited(account_id=alice, amount="700", new_balance="2000.00"),
        AccountClosed(account_id=alice, final_balance="2000.00", timestamp=1234567894),
    )
    engine = engine_of(activity)

    engine.run()

    assert rows(engine, "SELECT * FROM customer_activity") == [
        (
            "customer-Alice",
            "acc-alice-001",
            "2000.00",
            "CLOSED",
            2,
            1,
            "account_closed",
            1234567894,
            1,
        )
    ]


def account_summary(folder) -> Projection:
    """One row per account."""
    (folder / "account_summary").mkdir()
    (folder / "account_summary" / "0001_account_summary.sql").write_text(
        "CREATE TABLE account_summary (account_id TEXT PRIMARY KEY, owner_name TEXT, balance TEXT,"
        " status TEXT, transaction_count INTEGER DEFAULT 0, created_at INTEGER,"
        " updated_at INTEGER);"
    )
    summary = Projection("account-summary", migrations=folder / "account_summary")

    @summary.on(AccountOpened)
    def opened(event, context):
        execute(
            context.db,
            "INSERT INTO account_summary VALUES (?, ?, ?, 'OPEN', 0, ?, ?)",
            event.account_id,
            event.owner_name,
            event.opening_amount,
            event.timestamp,
            event.timestamp,
        )

    @summary.on(MoneyDeposited, MoneyWithdrawn)
    def moved(event, context):
        execute(
            context.db,
            "UPDATE account_summary SET balance = ?, transaction_count = transaction_count + 1, "
            "updated_at = ? WHERE account_id = ?",
            event.new_balance,
            event.timestamp,
            event.account_id,
        )

    @summary.on(AccountClosed)
    def closed(event, context):
        execute(
            context.db,
            "UPDATE account_summary SET status = 'CLOSED', updated_at = ? WHERE account_id = ?",
            event.timestamp,
            event.account_id,
        )

    return summary


def test_a_rebuild_of_the_account_summary_ends_with_the_same_rows(engine_of, append, tmp_path):
    """The SQLite projection."""
    bob = "acc-bob-001"
    append(
        AccountOpened(account_id=bob, owner_name="Bob", opening_amount="5000.00", timestamp=1),
        MoneyDeposited(account_id=bob, new_balance="6000.00", timestamp=2),
        MoneyWithdrawn(account_id=bob, new_balance="5500.00", timestamp=3),
        MoneyDeposited(account_id=bob, new_balance="7500.00", timestamp=4),
        AccountClosed(account_id=bob, final_balance="7500.00", timestamp=5),
    )
    engine = engine_of(account_summary(tmp_path))
    engine.run()
    live = rows(engine, "SELECT * FROM account_summary")

    report = engine.rebuild("account-summary")

    assert live == [("acc-bob-001", "Bob", "7500.00", "CLOSED", 3, 1, 5)]
    assert rows(engine, "SELECT * FROM account_summary") == live
    assert (report.events, report.position) == (5, 5)


@pytest.fixture
def one_second(tmp_path):
    """A store in which all of 2,500 events were recorded at one moment."""
    path = tmp_path / "second.db"
    with sqlite_store(path, f"sqlite:///{path}", clock=SettableClock()) as store:
        for number in range(5):
            events = [NewEvent(message) for message in count(500)]
            store.append(f"Account-{number}", events, expected_version=ANY)
        yield store


@pytest.mark.parametrize("how", ["run", "rebuild", "rebuild in place"])
@pytest.mark.promise("rebuilds-equal-following")
def test_more_than_a_thousand_events_of_one_second_are_each_handled_once(
    how, one_second, read_models, counts
):
    """Pages neither repeat nor lose events."""
    engine = ProjectionEngine(one_second, [counts], read_models)

    if how == "run":
        (report,) = engine.run()
    else:
        report = engine.rebuild("counts", in_place=how == "rebuild in place")

    assert len({event.recorded_at for event in one_second.read_all()}) == 1
    assert report.events == 2500
    seen = [position for (position,) in rows(engine, "SELECT position FROM counts_seen")]
    assert seen == [event.global_position for event in one_second.read_all()]
    engine.close()


def test_a_clock_that_is_set_back_changes_nothing(read_models, counts, tmp_path):
    clock, path = SettableClock(), tmp_path / "clock.db"
    with sqlite_store(path, f"sqlite:///{path}", clock=clock) as store:
        engine = ProjectionEngine(store, [counts], read_models)
        for _ in range(3):
            events = [NewEvent(message) for message in count(10)]
            store.append("Account-1", events, expected_version=ANY)
            (behind,) = engine.status()
            engine.run()
            clock.move(hours=-1)

        assert (behind.lag, behind.behind_seconds) == (10, 0.0)
        assert engine.status()[0].lag == 0
        assert rows(engine, "SELECT COUNT(*), COUNT(DISTINCT position) FROM counts_seen") == [
            (30, 30)
        ]
        assert engine.rebuild("counts").events == 30
        assert engine.diff("counts").equal
        engine.close()


@pytest.mark.sqlite_only
@pytest.mark.promise("projections-are-exactly-once")
def test_a_checkpoint_that_cannot_be_written_takes_its_rows_with_it(
    engine_of, append, counts, tmp_path
):
    """They are one transaction, so no crash can come between them."""
    append(*count(3))
    engine = engine_of(counts)
    engine.run()
    with closing(sqlite3.connect(tmp_path / "read.db")) as connection, connection:
        connection.execute(
            "CREATE TRIGGER stuck BEFORE INSERT ON eskit_records "
            "BEGIN SELECT RAISE(ABORT, 'stuck'); END"
        )
    connection.close()
    append(*count(3))

    with pytest.raises(ReadModelUnavailable, match="stuck"):
        engine.run()

    assert engine.checkpoints()[0].position == 3
    assert rows(engine, "SELECT MAX(position) FROM counts_seen") == [(3,)]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_size_of_batches_changes_nothing(engine_of, append, counts, size):
    append(*count(100), NoteAdded(), *count(51))
    engine = engine_of(counts)

    (report,) = engine.run(limits=BatchLimits(events=size))

    assert report.events == 151
    assert rows(engine, "SELECT COUNT(*), SUM(amount) FROM counts") == [
        (7, sum(range(100)) + sum(range(51)))
    ]


def test_a_batch_ends_in_time_however_many_events_it_may_have(engine_of, append, tmp_path):
    slow = Projection("slow")
    marks = []

    @slow.on(Counted)
    def handle(event, context):
        time.sleep(0.001)

    append(*count(300))
    engine = engine_of(slow)

    engine.run(limits=BatchLimits(seconds=0.02), progress=lambda p: marks.append(p.position))

    assert len(marks) > 2
    assert marks[-1] == 300


def test_a_checkpoint_is_a_global_position_and_names_its_event(engine_of, store, append, counts):
    """Not a version, not a count of deliveries."""
    append(NoteAdded(), stream="Note-1")
    append(*count(3), stream="Account-9")
    engine = engine_of(counts)

    engine.run()

    (checkpoint,) = engine.checkpoints()
    last = list(store.read_all())[-1]
    assert (checkpoint.position, checkpoint.event_id) == (last.global_position, last.event_id)
    assert (checkpoint.name, checkpoint.store_id) == ("counts", store.store_id)


@pytest.mark.promise("projections-are-exactly-once")
def test_running_again_handles_nothing_again(engine_of, append, counts):
    append(*count(10))
    engine = engine_of(counts)
    engine.run()

    (report,) = engine.run()

    assert report.events == 0
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(10,)]


@pytest.mark.promise("projections-are-exactly-once")
def test_stopped_appended_restarted(read_models, store, append, counts):
    """What came while it was down is handled when it is back."""
    append(*count(4))
    first = ProjectionEngine(store, [counts], read_models)
    first.run()
    first.close()
    append(*count(6))

    second = ProjectionEngine(store, [counts], read_models)
    (report,) = second.run()

    assert report.events == 6
    assert rows(second, "SELECT COUNT(*) FROM counts_seen") == [(10,)]
    second.close()


def test_events_of_no_interest_are_passed_once_and_for_all(engine_of, append, counts):
    append(*count(1), *(NoteAdded() for _ in range(50)))
    engine = engine_of(counts)

    engine.run()

    (status,) = engine.status()
    assert (status.position, status.head, status.lag) == (51, 51, 0)


@pytest.mark.promise("lag-is-exact")
def test_lag_counts_only_events_the_projection_handles(engine_of, append, counts):
    append(*count(2), *(NoteAdded() for _ in range(50)), *count(3))
    engine = engine_of(counts)

    (status,) = engine.status()

    assert (status.name, status.state) == ("counts", "idle")
    assert (status.position, status.head, status.lag) == (0, 55, 5)
    assert status.behind_seconds > 0


def test_status_creates_nothing(engine_of, append, counts, tmp_path):
    before = set(tmp_path.glob("read*"))

    engine_of(counts).status()

    assert set(tmp_path.glob("read*")) == before


def test_a_projection_without_handlers_only_follows(engine_of, append):
    append(*count(3))
    engine = engine_of(Projection("nothing"))

    (report,) = engine.run()

    assert (report.events, report.position) == (0, 3)


def test_a_new_projection_catches_up_with_those_that_are_ahead(
    read_models, store, append, tmp_path
):
    old, new = counting(tmp_path, "old"), counting(tmp_path, "new")
    append(*count(20))
    alone = ProjectionEngine(store, [old], read_models)
    alone.run()
    alone.close()
    append(*count(5))
    both = ProjectionEngine(store, [old, new], read_models)

    reports = both.run(limits=BatchLimits(events=3))

    assert [report.events for report in reports] == [5, 25]
    assert rows(both, "SELECT * FROM old_seen") == rows(both, "SELECT * FROM new_seen")
    both.close()


def test_only_the_named_projections_run(engine_of, append, tmp_path):
    engine = engine_of(counting(tmp_path, "one"), counting(tmp_path, "two"))
    append(*count(2))

    engine.run(["two"])

    assert [status.position for status in engine.status()] == [0, 2]


def test_an_unknown_projection_is_refused_and_the_others_are_named(engine_of, counts):
    with pytest.raises(ProjectionError, check=coded("PROJECTION_NOT_FOUND")) as raised:
        engine_of(counts).run(["balances"])

    assert raised.value.hint == "Projections here: counts."


def test_old_events_arrive_as_what_they_have_become(engine_of, append, tmp_path):
    """Projections upcast too."""
    deposits = []
    projection = Projection("deposits")

    @projection.on(MoneyDeposited)
    def deposited(event, context):
        deposits.append((context.event.event_type.rpartition(".")[2], event.amount))

    @upcast(CentsDeposited, to=MoneyDeposited)
    def to_decimal(old):
        return MoneyDeposited(account_id=old.account_id, amount=f"{old.cents / 100:.2f}")

    append(CentsDeposited(account_id="a", cents=1250), MoneyDeposited(amount="2.00"))
    engine = engine_of(projection, upcasters=Upcasters([to_decimal]))

    engine.run()

    assert deposits == [("CentsDeposited", "12.50"), ("MoneyDeposited", "2.00")]
    assert engine.status()[0].lag == 0


def test_events_of_all_tenants_arrive_with_their_tenant(engine_of, store):
    seen = []
    projection = Projection("tenants")
    projection.on(NoteAdded)(lambda event, context: seen.append(context.event.tenant))
    for tenant in ("a", "b", ""):
        store.for_tenant(tenant).append("Note-1", [NewEvent(NoteAdded())], expected_version=ANY)

    engine_of(projection).run()

    assert seen == ["a", "b", ""]


def test_the_memory_store_and_memory_read_models_work_alike(tmp_path):
    from eskit import open_store

    with open_store("memory://") as memory:
        memory.append("Count-1", [NewEvent(m) for m in count(12)], expected_version=ANY)
        engine = ProjectionEngine(memory, [counting(tmp_path)], "memory://")

        engine.run()
        engine.rebuild("counts")

        assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(12,)]
        engine.close()


@pytest.mark.sqlite_only
def test_handlers_use_sqlite_utils_and_raw_sql_in_one_transaction(engine_of, append, tmp_path):
    projection = Projection("mixed")

    @projection.on(Counted)
    def counted(event, context):
        context.db["totals"].upsert({"key": event.key, "amount": event.amount}, pk="key")
        execute(context.db, "UPDATE totals SET amount = amount * 10 WHERE key = ?", event.key)

    append(Counted(key="a", amount=1), Counted(key="a", amount=2))
    engine = engine_of(projection)

    engine.run()

    with engine.reader() as db:
        assert list(db["totals"].rows) == [{"key": "a", "amount": 20}]
        assert db.query("SELECT COUNT(*) AS n FROM totals").__next__() == {"n": 1}


def test_a_reader_sees_one_moment(engine_of, append, counts):
    append(*count(1))
    engine = engine_of(counts)
    engine.run()

    with engine.reader() as db:
        before = db.execute("SELECT COUNT(*) FROM counts_seen").fetchone()
        append(*count(1))
        engine.run()
        after = db.execute("SELECT COUNT(*) FROM counts_seen").fetchone()

    assert before == after == (1,)
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(2,)]


def test_progress_tells_how_far_it_is(engine_of, store: EventStore, append, counts):
    append(*count(25))
    told = []

    engine_of(counts).run(limits=BatchLimits(events=10), progress=told.append)

    assert [(p.name, p.events, p.position, p.head) for p in told] == [
        ("counts", 10, 10, 25),
        ("counts", 20, 20, 25),
        ("counts", 25, 25, 25),
    ]
    assert all(p.rate > 0 for p in told)


@pytest.mark.sqlite_only
@pytest.mark.parametrize("file", ["read.db", "elsewhere/read.db"])
def test_the_write_ahead_log_of_a_read_model_stays_short(engine_of, append, tmp_path, file):
    if not (path := tmp_path / file).parent.exists():
        path.parent.mkdir()
        (tmp_path / "read.db").symlink_to(path)
    projection = Projection("bulk")

    @projection.on(Counted)
    def counted(event, context):
        context.db.execute("CREATE TABLE IF NOT EXISTS bulk (data BLOB)")
        context.db.execute("INSERT INTO bulk VALUES (zeroblob(100000))")

    append(*count(300))
    engine = engine_of(projection)
    longest = 0

    def look(progress):
        nonlocal longest
        longest = max(longest, path.with_name("read.db-wal").stat().st_size)

    engine.run(limits=BatchLimits(events=10), progress=look)

    assert 0 < longest < 10_000_000
    assert path.stat().st_size > 20_000_000
