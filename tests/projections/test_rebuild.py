"""A rebuild beside the live rows: same rows at the end, untouched ones if it fails."""

from __future__ import annotations

import functools
import importlib
import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from eskit import ANY, NewEvent, Projection, open_store
from eskit.errors import (
    CheckpointMismatch,
    ProjectionBusy,
    ProjectionError,
    ProjectionFailed,
    RebuildNeeded,
)
from eskit.operations.erasing import erase
from eskit.postgres.url import is_postgres
from eskit.projections.bookkeeping import save_skip
from eskit.projections.engine import ProjectionEngine
from eskit.projections.locks import lock_of
from eskit.projections.opening import open_read_models
from eskit.projections.records import Skip
from tests.projections.conftest import alter, counting, execute, rows
from tests.projections.test_failures import failing
from tests.projections.test_following import following
from tests.support.account_events import Counted, NoteAdded
from tests.support.coded import coded


def spoil(read_models: str) -> None:
    alter(read_models, "DELETE FROM counts")


def many(n: int) -> list:
    return [Counted(key=f"k{i % 5}", amount=i) for i in range(n)]


@pytest.mark.promise("rebuilds-equal-following")
def test_a_rebuild_makes_the_rows_that_following_made(engine_of, append, counts):
    append(*many(40), NoteAdded())
    engine = engine_of(counts)
    engine.run()
    live = rows(engine, "SELECT * FROM counts"), rows(engine, "SELECT * FROM counts_seen")

    report = engine.rebuild("counts")

    rebuilt = rows(engine, "SELECT * FROM counts"), rows(engine, "SELECT * FROM counts_seen")
    assert rebuilt == live
    assert (report.name, report.events, report.position) == ("counts", 40, 41)
    (status,) = engine.status()
    assert (status.state, status.position, status.rebuild_position) == ("idle", 41, None)


def test_a_rebuild_mends_rows_that_went_wrong(engine_of, append, counts, read_models):
    append(*many(10))
    engine = engine_of(counts)
    engine.run()
    good = rows(engine, "SELECT * FROM counts")
    alter(read_models, "UPDATE counts SET amount = -1")

    engine.rebuild("counts")

    assert rows(engine, "SELECT * FROM counts") == good


def test_a_rebuild_of_what_never_ran_fills_it(engine_of, append, counts):
    append(*many(10))
    engine = engine_of(counts)

    engine.rebuild("counts")

    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(10,)]
    assert engine.run()[0].events == 0


def test_a_rebuild_leaves_nothing_beside_the_read_model(engine_of, append, counts, tmp_path):
    append(*many(10))
    engine_of(counts).rebuild("counts")

    assert not list(tmp_path.glob("*rebuild*"))


@pytest.mark.promise("rebuilds-are-invisible")
def test_a_handler_error_leaves_the_live_rows_untouched(engine_of, append, counts, tmp_path):
    append(*many(10))
    engine_of(counts).run()
    broken = Projection("counts", migrations=counts.migrations)

    @broken.on(Counted)
    def counted(event, context):
        execute(context.db, "INSERT INTO counts VALUES (?, 0)", event.key)
        if context.event.global_position == 4:
            raise ValueError("no such luck")

    engine = engine_of(broken)
    before = rows(engine, "SELECT * FROM counts")

    with pytest.raises(ProjectionFailed) as raised:
        engine.rebuild("counts")

    assert str(raised.value) == (
        "The rebuild of counts stopped before 4 eskit.tests.ledger.v1.Counted of Account-1: "
        "ValueError: no such luck"
    )
    assert rows(engine, "SELECT * FROM counts") == before
    (status,) = engine.status()
    assert (status.state, status.position, status.error) == ("idle", 10, "")
    (failure,) = status.failures
    assert (failure.phase, failure.position) == ("rebuild", 4)
    assert failure.error == "ValueError: no such luck"
    assert "ValueError" in failure.traceback


def test_a_rebuild_that_succeeds_clears_every_failure(engine_of, append, counts, tmp_path):
    append(*many(3))
    broken = Projection("counts", migrations=counts.migrations)

    @broken.on(Counted)
    def counted(event, context):
        raise ValueError

    broken_engine = engine_of(broken)
    with pytest.raises(ProjectionFailed):
        broken_engine.run()
    with pytest.raises(ProjectionFailed):
        broken_engine.rebuild("counts")
    assert len(broken_engine.status()[0].failures) == 2

    engine = engine_of(counts)
    engine.rebuild("counts")

    (status,) = engine.status()
    assert (status.state, status.failures) == ("idle", ())


def test_a_rebuild_touches_no_other_projection(engine_of, append, tmp_path, read_models):
    engine = engine_of(counting(tmp_path, "one"), counting(tmp_path, "two"))
    append(*many(10))
    engine.run()
    alter(read_models, "UPDATE two SET amount = -1")

    engine.rebuild("one")

    assert rows(engine, "SELECT DISTINCT amount FROM two") == [(-1,)]
    assert rows(engine, "SELECT SUM(amount) FROM one") == [(45,)]


def test_a_handler_that_writes_to_another_projection_fails_the_rebuild(engine_of, append, tmp_path):
    meddler = counting(tmp_path, "meddler")

    @meddler.on(NoteAdded)
    def noted(event, context):
        context.db.execute("DELETE FROM counts")

    engine = engine_of(counting(tmp_path), meddler)
    append(*many(3))
    engine.run()
    append(NoteAdded())

    with pytest.raises(ProjectionFailed, match=r"readonly|wrote to counts"):
        engine.rebuild("meddler")

    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(3,)]


def test_a_changed_schema_comes_with_the_rebuild(engine_of, append, counts, tmp_path):
    append(*many(6))
    engine_of(counts).run()
    (counts.migrations / "0001_counts.sql").write_text(
        "CREATE TABLE totals (key TEXT PRIMARY KEY, amount INTEGER);"
        "CREATE INDEX totals_amount ON totals (amount);"
        "CREATE VIEW top AS SELECT key FROM totals ORDER BY amount DESC;"
    )
    renewed = Projection("counts", migrations=counts.migrations, version=2)

    @renewed.on(Counted)
    def counted(event, context):
        execute(
            context.db,
            "INSERT INTO totals VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET amount = totals.amount + ?",
            event.key,
            event.amount,
            event.amount,
        )

    engine = engine_of(renewed)
    engine.rebuild("counts")

    assert rows(engine, "SELECT * FROM top LIMIT 1") == [("k0",)]
    for gone in ("counts", "counts_seen"):
        with pytest.raises(Exception, match=gone):
            rows(engine, f"SELECT * FROM {gone}")  # noqa: S608
    assert engine.diff("counts").equal
    assert engine.run()[0].events == 0


@pytest.mark.sqlite_only
@pytest.mark.parametrize("changed", [False, True], ids=["same schema", "changed schema"])
def test_every_kind_of_table_survives_the_exchange(
    engine_of, append, tmp_path, changed, read_models
):
    folder = tmp_path / "kinds"
    folder.mkdir()
    (folder / "1_kinds.sql").write_text(
        """
        CREATE TABLE numbered (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT);
        CREATE TABLE plain (key TEXT);
        CREATE TABLE computed (
            amount INTEGER, doubled INTEGER GENERATED ALWAYS AS (amount * 2) STORED,
            tripled INTEGER GENERATED ALWAYS AS (amount * 3) VIRTUAL);
        CREATE TABLE "odd ""name" ("a b" TEXT, "select" TEXT, PRIMARY KEY ("a b")) WITHOUT ROWID;
        CREATE TABLE parent (id TEXT PRIMARY KEY);
        CREATE TABLE child (parent TEXT REFERENCES parent, rowid TEXT);
        CREATE TABLE keyed (key TEXT PRIMARY KEY);
        CREATE TABLE looked_up (key TEXT);
        CREATE INDEX looked_up_key ON looked_up (key);
        CREATE TABLE log (n INTEGER);
        CREATE TRIGGER plain_log AFTER INSERT ON plain BEGIN INSERT INTO log VALUES (1); END;
        CREATE TRIGGER plain_gone AFTER DELETE ON plain BEGIN INSERT INTO log VALUES (-1); END;
        CREATE UNIQUE INDEX numbered_key ON numbered (key, id);
        CREATE VIEW counted AS SELECT COUNT(*) AS n FROM plain;
        """
    )
    kinds = Projection("kinds", migrations=folder)

    @kinds.on(Counted)
    def counted(event, context):
        execute(context.db, "INSERT INTO numbered (key) VALUES (?)", event.key)
        context.db.execute("DELETE FROM numbered WHERE id % 3 = 0")
        execute(context.db, "INSERT INTO plain VALUES (?)", event.key)
        execute(context.db, "INSERT INTO computed (amount) VALUES (?)", event.amount)
        execute(
            context.db,
            'INSERT OR REPLACE INTO "odd ""name" VALUES (?, ?)',
            event.key,
            str(event.amount),
        )
        execute(context.db, "INSERT OR IGNORE INTO parent VALUES (?)", event.key)
        execute(context.db, "INSERT INTO child VALUES (?, 'r')", event.key)
        for table in ("keyed", "looked_up"):
            execute(context.db, f"INSERT OR IGNORE INTO {table} VALUES (?)", event.key)  # noqa: S608
        if event.amount == 8:
            for table in ("plain", "keyed", "looked_up"):
                context.db.execute(f"DELETE FROM {table} WHERE rowid = 2")  # noqa: S608

    append(*many(9))
    engine = engine_of(kinds)
    engine.run()
    everything = [
        "SELECT * FROM numbered",
        "SELECT rowid, * FROM plain",
        "SELECT * FROM computed",
        'SELECT * FROM "odd ""name"',
        "SELECT * FROM parent",
        "SELECT * FROM child",
        "SELECT rowid, * FROM keyed",
        "SELECT rowid, * FROM looked_up",
        "SELECT * FROM log",
        "SELECT * FROM counted",
        "SELECT * FROM sqlite_sequence",
        "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name",
    ]
    live = [rows(engine, sql) for sql in everything]
    if changed:
        alter(read_models, "ALTER TABLE plain ADD COLUMN extra TEXT")

    engine.rebuild("kinds")

    assert [rows(engine, sql) for sql in everything] == live
    append(*many(1))
    engine.run()
    assert rows(engine, "SELECT MAX(id) FROM numbered") == [(10,)]


@pytest.mark.sqlite_only
def test_full_text_search_survives_the_exchange(engine_of, append, tmp_path):
    folder = tmp_path / "search"
    folder.mkdir()
    (folder / "1_search.sql").write_text(
        "CREATE VIRTUAL TABLE notes USING fts5 (text);"
        "CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT);"
        "CREATE VIRTUAL TABLE docs_index USING fts5 (text, content='docs', content_rowid='id');"
        "CREATE TRIGGER docs_added AFTER INSERT ON docs BEGIN"
        "  INSERT INTO docs_index (rowid, text) VALUES (NEW.id, NEW.text); END;"
    )
    search = Projection("search", migrations=folder)

    @search.on(NoteAdded)
    def noted(event, context):
        execute(context.db, "INSERT INTO notes VALUES (?)", event.text)
        execute(context.db, "INSERT INTO docs (text) VALUES (?)", event.text)

    append(NoteAdded(text="the quick fox"), NoteAdded(text="a lazy dog"))
    engine = engine_of(search)
    engine.run()

    engine.rebuild("search")
    append(NoteAdded(text="another fox"))
    engine.run()

    assert rows(engine, "SELECT rowid FROM notes WHERE notes MATCH 'fox'") == [(1,), (3,)]
    assert rows(engine, "SELECT rowid FROM docs_index WHERE docs_index MATCH 'fox'") == [(1,), (3,)]
    assert rows(engine, "SELECT COUNT(*) FROM docs") == [(3,)]


@pytest.mark.promise("rebuilds-are-invisible")
def test_events_that_arrive_during_a_rebuild_are_in_it(engine_of, append, counts):
    append(*many(20))
    engine = engine_of(counts)
    engine.run()
    arrived = []

    def more(progress):
        if len(arrived) < 3:
            arrived.append(progress)
            append(*many(5))

    engine.rebuild("counts", progress=more)

    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(35,)]
    assert engine.status()[0].lag == 0


def test_the_live_rows_follow_while_a_rebuild_goes_on(engine_of, append, counts):
    append(*many(20))
    engine = engine_of(counts)
    engine.run()
    lags = []

    def follow(progress):
        append(*many(1))
        engine.run()
        (status,) = engine.status()
        lags.append((status.state, status.lag, status.holder is not None))

    engine.rebuild("counts", progress=follow)

    assert lags == [("rebuilding", 0, True)] * len(lags)
    assert lags
    expected = 20 + len(lags)
    assert rows(engine, "SELECT COUNT(*), COUNT(DISTINCT position) FROM counts_seen") == [
        (expected, expected)
    ]


@pytest.mark.promise("rebuilds-are-invisible")
def test_rebuilds_during_steady_appends_show_readers_rows_of_one_moment(
    engine_of, append, counts, read_models
):
    """While a runner follows: rows, what was seen, and the checkpoint always belong together."""
    stop, torn = threading.Event(), []
    at_once = 2 if is_postgres(read_models) else 20

    def append_steadily():
        while not stop.wait(0.005):
            append(*(Counted(key="a", amount=1) for _ in range(at_once)))

    def read_steadily():
        while not stop.wait(0.002):
            (seen,) = rows(
                engine,
                "SELECT (SELECT SUM(amount) FROM counts), COUNT(*), COUNT(DISTINCT position), "
                "MAX(position), "
                "(SELECT value FROM eskit_records WHERE kind = 'state') "
                "FROM counts_seen",
            )
            if len({*seen[:-1], json.loads(seen[-1])["position"]}) != 1:
                torn.append(seen)

    append(*(Counted(key="a", amount=1) for _ in range(500)))
    engine = engine_of(counts)
    engine.run()
    threads = [threading.Thread(target=work) for work in (append_steadily, read_steadily)]
    with following(engine_of(counting(counts.migrations.parent))):
        for thread in threads:
            thread.start()
        positions = [engine.rebuild("counts").position for _ in range(10)]
        stop.set()
        for thread in threads:
            thread.join()
    engine.run()

    assert torn == []
    assert positions == sorted(positions)
    assert positions[-1] > positions[0] > 500
    (status,) = engine.status()
    assert rows(engine, "SELECT amount FROM counts") == [(status.head,)]


def test_a_rebuild_whose_log_was_exchanged_meanwhile_is_not_taken_over(
    engine_of, append, counts, tmp_path
):
    append(*many(5))
    engine = engine_of(counts)
    engine.run()

    def restore_another(_progress):
        log = sqlite3.connect(tmp_path / "log.db")
        log.execute("UPDATE events SET event_id = randomblob(16) WHERE global_position = 5")
        log.commit()
        log.close()

    with pytest.raises(CheckpointMismatch):
        engine.rebuild("counts", progress=restore_another)

    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(5,)]


def test_a_runner_goes_on_from_where_the_exchange_left_it(engine_of, append, counts, store):
    append(*many(20))
    engine = engine_of(counts)
    stop = threading.Event()
    runner = threading.Thread(target=engine.run, kwargs={"once": False, "stop": stop})
    runner.start()
    try:
        for _ in range(5):
            append(*many(20))
            engine.rebuild("counts")
        append(*many(7))
        assert engine.wait_for("counts", store.head_position(), 10)
    finally:
        stop.set()
        runner.join(10)

    assert not runner.is_alive()
    assert rows(engine, "SELECT COUNT(*), COUNT(DISTINCT position) FROM counts_seen") == [
        (127, 127)
    ]


def test_two_rebuilds_of_one_projection_are_refused(engine_of, append, counts, read_models):
    append(*many(5))
    engine = engine_of(counts)

    with (
        closing(open_read_models(read_models)) as others,
        lock_of(others, "counts", "rebuild"),
        pytest.raises(ProjectionBusy, match="is rebuilding projection 'counts'"),
    ):
        engine.rebuild("counts")


def interrupted(engine_of, counts, append):
    """A rebuild that was stopped in the middle, as by a crash after its first batch."""
    append(*many(12_000))
    engine = engine_of(counts)

    def crash(progress):
        raise SystemExit

    with pytest.raises(SystemExit):
        engine.rebuild("counts", progress=crash)
    return engine


@pytest.mark.parametrize("in_place", [False, True])
def test_a_rebuild_of_a_paused_projection_makes_all_its_rows(engine_of, counts, append, in_place):
    append(*many(5))
    engine = engine_of(counts)
    engine.run()
    engine.pause("counts", reason="later", by="ann")
    append(*many(2))

    report = engine.rebuild("counts", in_place=in_place)
    append(*many(1))
    (status,) = engine.status()

    assert report.events == 7
    assert (status.state, status.position, status.lag) == ("paused", 7, 1)
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(7,)]


@pytest.mark.promise("rebuilds-resume-safely")
def test_an_interrupted_rebuild_goes_on_where_it_was(engine_of, counts, append):
    engine = interrupted(engine_of, counts, append)
    (status,) = engine.status()
    assert (status.state, status.position) == ("idle", 0)
    assert 0 < status.rebuild_position < 12_000

    report = engine.rebuild("counts")

    assert report.events == 12_000 - status.rebuild_position
    assert rows(engine, "SELECT COUNT(*), COUNT(DISTINCT position) FROM counts_seen") == [
        (12_000, 12_000)
    ]


@pytest.mark.parametrize("in_place", [False, True])
def test_a_rebuild_that_is_told_to_stop_leaves_the_live_rows(engine_of, counts, append, in_place):
    engine = engine_of(counts)
    append(*many(12_000))
    engine.run()
    stop = threading.Event()

    with pytest.raises(ProjectionError, check=coded("REBUILD_STOPPED")) as stopped:
        engine.rebuild("counts", in_place=in_place, progress=lambda _: stop.set(), stop=stop)

    (status,) = engine.status()
    assert (status.state, status.position) == ("idle", 12_000)
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(12_000,)]
    done = int(stopped.value.message.rpartition(" ")[2].replace(",", ""))
    assert 0 < done < 12_000
    assert engine.rebuild("counts").events == (12_000 if in_place else 12_000 - done)


@pytest.mark.promise("rebuilds-resume-safely")
def test_an_interrupted_rebuild_starts_over_when_the_code_has_changed(engine_of, counts, append):
    interrupted(engine_of, counts, append)
    renewed = counting(counts.migrations.parent, version=2)
    engine = engine_of(renewed)

    report = engine.rebuild("counts")

    assert report.events == 12_000
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(12_000,)]


@pytest.mark.sqlite_only
@pytest.mark.promise("rebuilds-resume-safely")
def test_an_interrupted_rebuild_starts_over_when_what_handlers_call_has_changed(
    engine_of, counts, append, tmp_path, monkeypatch
):
    package = tmp_path / "exchange_office"
    package.mkdir()
    (package / "rates.py").write_text("EUR = 2\n")
    (package / "handlers.py").write_text(
        "from exchange_office import rates\n\n\n"
        "def counted(event, context):\n"
        "    context.db.execute('INSERT INTO counts_seen VALUES (?)', (rates.EUR,))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    handler = importlib.import_module("exchange_office.handlers").counted
    counts.handlers["eskit.tests.ledger.v1.Counted"] = handler
    engine = interrupted(engine_of, counts, append)
    (package / "rates.py").write_text("EUR = 3\n")

    assert engine.rebuild("counts").events == 12_000


@pytest.mark.promise("rebuilds-resume-safely")
def test_an_interrupted_rebuild_starts_over_when_a_migration_has_changed(engine_of, counts, append):
    engine = interrupted(engine_of, counts, append)
    (file,) = counts.migrations.glob("*.sql")
    file.write_text(f"{file.read_text()}CREATE TABLE counts_more (n INTEGER);\n")

    assert engine.rebuild("counts").events == 12_000


@pytest.mark.promise("rebuilds-resume-safely")
def test_an_interrupted_rebuild_starts_over_on_another_log(
    engine_of, counts, append, read_models, tmp_path
):
    interrupted(engine_of, counts, append)
    with open_store(f"sqlite:///{tmp_path}/other.db") as other:
        events = [NewEvent(Counted(key="other", amount=1)) for _ in range(12_000)]
        other.append("Account-1", events, expected_version=ANY)
        engine = ProjectionEngine(other, [counts], read_models)

        report = engine.rebuild("counts")

        assert report.events == 12_000
        assert rows(engine, "SELECT * FROM counts") == [("other", 12_000)]
        engine.close()


def skip(read_models, event) -> None:
    """Decide that the projection never handles an event, as `deadletter skip` does."""
    models = open_read_models(read_models)
    model = models.open()
    decided = Skip(
        projection="counts",
        position=event.global_position,
        event_id=event.event_id,
        event_type=event.event_type,
        stream=event.stream,
        reason="test data",
        decided_by="ann",
        decided_at=event.recorded_at,
    )
    with model.transaction():
        save_skip(model, decided)
    model.close()
    models.close()


@pytest.mark.promise("rebuilds-resume-safely")
def test_an_interrupted_rebuild_starts_over_when_an_event_was_skipped_since(
    engine_of, counts, append, store, read_models
):
    engine = interrupted(engine_of, counts, append)
    skip(read_models, store.find_event(3))

    report = engine.rebuild("counts")

    assert (report.events, report.skipped) == (11_999, 1)
    assert rows(engine, "SELECT MIN(position) FROM counts_seen WHERE position > 2") == [(4,)]


def test_a_rebuild_during_which_an_event_is_skipped_is_not_exchanged(
    engine_of, counts, append, store, read_models
):
    append(*many(5))
    engine = engine_of(counts)
    engine.run()

    with pytest.raises(ProjectionBusy, match="changed during the rebuild"):
        engine.rebuild("counts", progress=lambda _: skip(read_models, store.find_event(3)))

    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(5,)]
    assert engine.rebuild("counts").events == 4


def erase_stream(store) -> None:
    erase(store, ["Account-erased"], reason="asked for", erased_by="ann")


@pytest.mark.promise("rebuilds-resume-safely")
def test_an_interrupted_rebuild_starts_over_when_a_stream_was_erased_since(
    engine_of, counts, append, store
):
    append(Counted(key="secret"), stream="Account-erased")
    engine = interrupted(engine_of, counts, append)
    erase_stream(store)

    engine.rebuild("counts")

    assert rows(engine, "SELECT COUNT(*), MIN(position) FROM counts_seen") == [(12_000, 2)]


@pytest.mark.parametrize("in_place", [False, True])
def test_a_rebuild_during_which_a_stream_is_erased_is_not_exchanged(
    engine_of, counts, append, store, in_place
):
    append(Counted(key="secret"), stream="Account-erased")
    append(*many(5))
    engine = engine_of(counts)
    engine.run()

    with pytest.raises(ProjectionBusy, match="erased during the rebuild"):
        engine.rebuild("counts", in_place=in_place, progress=lambda _: erase_stream(store))
    engine.rebuild("counts", in_place=in_place)

    assert rows(engine, "SELECT COUNT(*), MIN(position) FROM counts_seen") == [(5, 2)]


def test_an_interrupted_rebuild_starts_over_when_a_handler_has_no_source(engine_of, counts, append):
    counts.handlers["eskit.tests.ledger.v1.Counted"] = functools.partial(
        counts.handlers["eskit.tests.ledger.v1.Counted"]
    )
    engine = interrupted(engine_of, counts, append)

    assert engine.rebuild("counts").events == 12_000


@pytest.mark.sqlite_only
def test_an_interrupted_rebuild_starts_over_when_its_file_is_damaged(
    engine_of, counts, append, tmp_path
):
    engine = interrupted(engine_of, counts, append)
    (tmp_path / "read.db-rebuild-counts").write_bytes(b"x" * 8192)

    report = engine.rebuild("counts")

    assert report.events == 12_000


def test_progress_of_a_resumed_rebuild_counts_what_is_left(engine_of, counts, append):
    engine = interrupted(engine_of, counts, append)
    left = 12_000 - engine.status()[0].rebuild_position
    told = []

    engine.rebuild("counts", progress=told.append)

    assert (told[-1].events, {progress.total for progress in told}) == (left, {left})


def test_a_runner_with_old_code_stops_when_a_newer_version_was_rebuilt(engine_of, append, counts):
    old = engine_of(counts)
    new = engine_of(counting(counts.migrations.parent, version=2))
    append(*many(5))

    def upgrade(progress):
        if progress.position == 5 and progress.error is None:
            append(*many(5))
            new.rebuild("counts")

    stop = threading.Event()
    giving_up = threading.Timer(30, stop.set)
    giving_up.start()
    with pytest.raises(RebuildNeeded, match="as version 2, this process has version 1"):
        old.run(once=False, stop=stop, progress=upgrade)
    giving_up.cancel()

    assert rows(new, "SELECT COUNT(*) FROM counts_seen") == [(10,)]
    append(*many(1))
    assert new.run()[0].events == 1


def test_progress_of_a_rebuild_knows_its_total(engine_of, append, counts):
    append(*many(30), NoteAdded(), NoteAdded())
    told = []

    engine_of(counts).rebuild("counts", progress=told.append)

    assert [(p.events, p.total, p.position, p.head) for p in told] == [(30, 30, 32, 32)]
    assert told[-1].remaining_seconds == 0


READER = """
import select, sqlite3, sys
connection = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=10)
reads, odd = 0, set()
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    connection.execute("BEGIN")
    one = connection.execute("SELECT COUNT(*), SUM(amount) FROM counts").fetchone()
    two = connection.execute("SELECT COUNT(*) FROM counts_seen").fetchone()
    connection.execute("COMMIT")
    reads += 1
    if (*one, *two) != (5, 499_500, 1000):
        odd.add((*one, *two))
print(reads, sorted(odd))
"""


@pytest.mark.sqlite_only
@pytest.mark.promise("rebuilds-are-invisible")
def test_readers_in_another_process_never_see_a_hole(engine_of, append, counts, tmp_path):
    """The live rows are exchanged, never emptied and refilled."""
    append(*many(1000))
    engine = engine_of(counts)
    engine.run()
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path / "read.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout.readline() == "ready\n"

    for _ in range(15):
        engine.rebuild("counts")

    told, _ = reader.communicate("stop\n", timeout=30)
    reads, odd = told.split(maxsplit=1)
    assert odd.strip() == "[]"
    assert int(reads) > 50


def test_rebuild_in_place_is_atomic_for_readers(engine_of, append, counts):
    append(*(Counted(key="a", amount=1) for _ in range(10)))
    engine = engine_of(counts)
    engine.run()
    seen = []
    handle = counts.handlers["eskit.tests.ledger.v1.Counted"]

    def watching(event, context):
        handle(event, context)
        seen.extend(rows(engine, "SELECT amount FROM counts"))

    counts.handlers["eskit.tests.ledger.v1.Counted"] = watching
    report = engine.rebuild("counts", in_place=True)

    assert seen == [(10,)] * 10
    assert (report.events, report.position) == (10, 10)
    assert rows(engine, "SELECT amount FROM counts") == [(10,)]
    assert engine.diff("counts").equal


def test_rebuild_in_place_that_fails_leaves_the_rows_and_says_so(engine_of, append, tmp_path):
    append(*(Counted(key="a", amount=1) for _ in range(10)))
    engine = engine_of(counting(tmp_path, "fragile"))
    engine.run()
    broken = engine_of(failing(tmp_path, on=5))

    with pytest.raises(ProjectionFailed, match="rebuild of fragile stopped before 5"):
        broken.rebuild("fragile", in_place=True)

    (status,) = broken.status()
    assert rows(engine, "SELECT amount FROM fragile") == [(10,)]
    assert (status.state, status.position) == ("idle", 10)
    assert [(failure.phase, failure.position) for failure in status.failures] == [("rebuild", 5)]


@pytest.mark.sqlite_only
def test_a_rebuild_whose_rows_break_a_foreign_key_is_not_exchanged(engine_of, append, tmp_path):
    folder = tmp_path / "family"
    folder.mkdir()
    (folder / "1_family.sql").write_text(
        "CREATE TABLE parent (id TEXT PRIMARY KEY);"
        "CREATE TABLE child (parent TEXT REFERENCES parent (id));"
    )
    family = Projection("family", migrations=folder)

    @family.on(Counted)
    def counted(event, context):
        execute(context.db, "INSERT INTO child VALUES (?)", event.key)

    append(Counted(key="orphan"))
    engine = engine_of(family)

    with pytest.raises(ProjectionFailed, match="refers to a row of parent that is not there"):
        engine.rebuild("family")
