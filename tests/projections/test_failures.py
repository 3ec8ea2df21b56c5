"""A handler that raises stops its projection before the event, and nothing is lost or hidden."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading

import pytest

from eskit import Projection
from eskit.errors import ProjectionFailed, ReadModelUnavailable
from tests.projections.conftest import counting, rows
from tests.support.account_events import Counted, NoteAdded


def failing(folder, *, on: int, name: str = "fragile", times: int = 10**9) -> Projection:
    """Counts like its model, but raises on one position, so many times."""
    projection = counting(folder, name)
    handle = projection.handlers.pop("eskit.tests.ledger.v1.Counted")
    raised = []

    @projection.on(Counted)
    def counted(event, context):
        handle(event, context)
        if context.event.global_position == on and len(raised) < times:
            raised.append(on)
            raise KeyError("eur")

    return projection


@pytest.mark.promise("projections-stop-at-a-failure")
def test_everything_before_the_failing_event_is_kept(engine_of, append, tmp_path):
    append(*(Counted(key="a", amount=1) for _ in range(50)))
    engine = engine_of(failing(tmp_path, on=31))

    with pytest.raises(ProjectionFailed) as raised:
        engine.run()

    assert str(raised.value) == (
        "fragile stopped before 31 eskit.tests.ledger.v1.Counted of Account-1: KeyError: 'eur'"
    )
    assert isinstance(raised.value.__cause__, KeyError)
    assert rows(engine, "SELECT COUNT(*), MAX(position) FROM fragile_seen") == [(30, 30)]


@pytest.mark.promise("projections-stop-at-a-failure")
def test_a_failure_is_stored_with_event_error_and_traceback(engine_of, store, append, tmp_path):
    append(NoteAdded(), Counted(key="a"), Counted(key="a"))
    engine = engine_of(failing(tmp_path, on=3))
    with pytest.raises(ProjectionFailed):
        engine.run()

    (status,) = engine_of(failing(tmp_path, on=3)).status()

    event = store.find_event(3)
    (failure,) = status.failures
    assert status.state == "failed"
    assert status.error == "stopped before 3: KeyError: 'eur'"
    assert (status.position, status.lag) == (2, 1)
    assert (failure.position, failure.event_id, failure.stream) == (3, event.event_id, "Account-1")
    assert "raise KeyError" in failure.traceback
    assert failure.traceback.count("Traceback") == 1  # that of the handler, and no other
    assert "eskit/projections" not in failure.traceback


def test_the_first_event_of_all_may_fail(engine_of, append, tmp_path):
    append(Counted(key="a"), Counted(key="a"))
    engine = engine_of(failing(tmp_path, on=1))

    with pytest.raises(ProjectionFailed):
        engine.run()

    assert engine.status()[0].position == 0
    assert rows(engine, "SELECT COUNT(*) FROM fragile_seen") == [(0,)]


def test_a_run_after_the_cause_is_gone_goes_on_and_clears_the_failure(engine_of, append, tmp_path):
    append(*(Counted(key="a", amount=1) for _ in range(9)))
    with pytest.raises(ProjectionFailed):
        engine_of(failing(tmp_path, on=5)).run()
    mended = engine_of(counting(tmp_path, "fragile"))

    (report,) = mended.run()

    assert report.events == 5
    (status,) = mended.status()
    assert (status.state, status.error, status.failures) == ("idle", "", ())
    assert rows(mended, "SELECT COUNT(*), SUM(amount) FROM fragile_seen, fragile") == [(9, 81)]


def test_a_run_while_the_cause_lasts_fails_again_and_stays_where_it_was(
    engine_of, append, tmp_path
):
    append(*(Counted(key="a") for _ in range(9)))
    engine = engine_of(failing(tmp_path, on=5))
    for _ in range(3):
        with pytest.raises(ProjectionFailed):
            engine.run()

    assert rows(engine, "SELECT COUNT(*) FROM fragile_seen") == [(4,)]
    assert len(engine.status()[0].failures) == 1


def test_an_error_that_does_not_come_again_stops_nothing(engine_of, append, tmp_path):
    append(*(Counted(key="a") for _ in range(9)))
    engine = engine_of(failing(tmp_path, on=5, times=1))

    (report,) = engine.run()

    assert report.events == 9
    assert rows(engine, "SELECT position FROM fragile_seen") == [(i,) for i in range(1, 10)]


def test_others_go_on_when_one_fails(engine_of, append, tmp_path):
    append(*(Counted(key="a") for _ in range(30)))
    engine = engine_of(counting(tmp_path), failing(tmp_path, on=10))

    with pytest.raises(ProjectionFailed, match="fragile stopped before 10"):
        engine.run()

    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(30,)]
    assert rows(engine, "SELECT COUNT(*) FROM fragile_seen") == [(9,)]
    assert [status.state for status in engine.status()] == ["idle", "failed"]


def test_an_event_that_cannot_be_decoded_fails_like_a_handler(engine_of, store, append):
    from eskit import ANY, NewEvent

    garbage = NewEvent(Counted())
    object.__setattr__(garbage, "data", b"\xff\xff")
    store.append("Count-1", [garbage], expected_version=ANY)
    projection = Projection("counts")
    projection.on(Counted)(lambda event, context: None)

    with pytest.raises(ProjectionFailed, match="DecodeError"):
        engine_of(projection).run()


@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "BEGIN", "ATTACH ':memory:' AS x"])
def test_a_handler_cannot_end_the_transaction_of_the_engine(engine_of, append, tmp_path, statement):
    projection = counting(tmp_path)
    handle = projection.handlers.pop("eskit.tests.ledger.v1.Counted")

    @projection.on(Counted)
    def counted(event, context):
        handle(event, context)
        if context.event.global_position == 3:
            context.db.execute(statement)

    append(*(Counted(key="a") for _ in range(4)))
    engine = engine_of(projection)

    with pytest.raises(ProjectionFailed, match="stopped before 3"):
        engine.run()

    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(2,)]


def test_a_handler_cannot_commit_through_the_connection(engine_of, append, tmp_path):
    projection = counting(tmp_path)
    projection.on(NoteAdded)(lambda event, context: context.db.conn.commit())
    append(Counted(key="a"), NoteAdded())
    engine = engine_of(projection)

    with pytest.raises(ProjectionFailed, match="stopped before 2"):
        engine.run()

    assert engine.status()[0].position == 1


def test_an_error_that_undoes_the_whole_transaction_takes_only_its_own_event(
    engine_of, append, tmp_path
):
    projection = counting(tmp_path)

    @projection.on(NoteAdded)
    def noted(event, context):
        context.db.execute("INSERT OR ROLLBACK INTO counts VALUES ('a', 0)")

    append(Counted(key="a"), Counted(key="b"), NoteAdded(), Counted(key="c"))
    engine = engine_of(projection)

    with pytest.raises(ProjectionFailed, match="stopped before 3"):
        engine.run()

    assert rows(engine, "SELECT key FROM counts") == [("a",), ("b",)]


@pytest.mark.sqlite_only
def test_a_swallowed_error_that_undid_the_transaction_is_noticed(engine_of, append, tmp_path):
    projection = counting(tmp_path)

    @projection.on(NoteAdded)
    def noted(event, context):
        with contextlib.suppress(sqlite3.IntegrityError):
            context.db.execute("INSERT OR ROLLBACK INTO counts VALUES ('a', 0)")

    append(Counted(key="a"), NoteAdded(), Counted(key="c"))
    engine = engine_of(projection)

    with pytest.raises((ProjectionFailed, ReadModelUnavailable)):
        engine.run()

    assert rows(engine, "SELECT key FROM counts") in ([], [("a",)])
    assert engine.status()[0].position == len(rows(engine, "SELECT key FROM counts"))


@pytest.mark.sqlite_only
def test_a_full_disk_is_not_blamed_on_the_handler(engine_of, append, tmp_path):
    projection = counting(tmp_path)

    @projection.on(NoteAdded)
    def noted(event, context):
        (pages,) = context.db.execute("PRAGMA page_count").fetchone()
        context.db.execute(f"PRAGMA max_page_count = {pages}")
        context.db.execute("INSERT INTO counts VALUES ('big', zeroblob(1000000))")

    append(Counted(key="a"), NoteAdded())
    engine = engine_of(projection)

    with pytest.raises(ReadModelUnavailable, match="full"):
        engine.run()

    assert engine.status()[0].state == "idle"
    assert engine.status()[0].position in (0, 1)


class _Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (OSError("no file b\udcffd"), "OSError: no file b\\udcffd"),
        (_Unspeakable(), "_Unspeakable: its text cannot be shown"),
        (SystemExit("bye"), "SystemExit: bye"),
        (StopIteration(), "StopIteration"),
        (GeneratorExit("gone"), "GeneratorExit: gone"),
        (asyncio.CancelledError(), "CancelledError"),
        (BaseException("odd"), "BaseException: odd"),
        (ValueError("x" * 2_000), f"ValueError: {'x' * 988}… (2,012 characters in all)"),
    ],
)
@pytest.mark.promise("projections-stop-at-a-failure")
def test_whatever_a_handler_raises_is_stored_and_told(engine_of, append, tmp_path, raised, told):
    projection = counting(tmp_path)

    @projection.on(NoteAdded)
    def fail(_event, _context):
        raise raised

    append(Counted(key="a"), NoteAdded(text="x"))
    engine = engine_of(projection)

    with pytest.raises(ProjectionFailed):
        engine.run()

    [status] = engine.status()
    assert (status.state, status.position, status.failures[0].error) == ("failed", 1, told)


def test_a_handler_that_moves_its_own_checkpoint_is_refused(engine_of, append, tmp_path):
    projection = counting(tmp_path)

    @projection.on(NoteAdded)
    def noted(event, context):
        context.db.execute(
            """UPDATE eskit_records SET value = REPLACE(value, '"position": 0', '"position": 99')"""
        )

    append(Counted(key="a"), NoteAdded())

    with pytest.raises(ReadModelUnavailable, match="from within a handler"):
        engine_of(projection).run()


def test_an_interrupt_that_a_handler_raises_in_another_thread_is_an_error_like_any_other(
    engine_of, append, tmp_path
):
    projection = counting(tmp_path)

    @projection.on(NoteAdded)
    def noted(event, context):
        raise KeyboardInterrupt

    append(Counted(key="a"), NoteAdded())
    engine = engine_of(projection)
    reports = []

    thread = threading.Thread(target=lambda: reports.extend(engine.run_each()))
    thread.start()
    thread.join(30)

    assert isinstance(reports[0].error, ProjectionFailed)
    assert engine.status()[0].failures[0].error == "KeyboardInterrupt"


def test_an_error_with_an_endless_text_is_kept_in_short(engine_of, append, tmp_path):
    projection = counting(tmp_path)

    @projection.on(NoteAdded)
    def noted(event, context):
        raise ValueError("x" * 20_000_000)

    append(NoteAdded())
    engine = engine_of(projection)

    (report,) = engine.run_each()

    (failure,) = engine.status()[0].failures
    assert len(failure.error) + len(failure.traceback) < 30_000
    assert "20,000,012 characters in all" in failure.error
    assert failure.error in failure.traceback
    assert len(report.error.message) < 2_000


def test_ctrl_c_in_a_handler_leaves_whole_batches(engine_of, append, tmp_path):
    projection = counting(tmp_path)

    @projection.on(NoteAdded)
    def noted(event, context):
        raise KeyboardInterrupt

    append(Counted(key="a"), NoteAdded())
    engine = engine_of(projection)

    with pytest.raises(KeyboardInterrupt):
        engine.run()

    assert engine.status()[0].position == 0
    assert rows(engine, "SELECT COUNT(*) FROM counts") == [(0,)]
    assert engine.status()[0].state == "idle"


@pytest.mark.parametrize(
    ("call", "told", "again"),
    [
        ("diff", "The comparison of fragile stopped before 5", "project diff fragile"),
        ("estimate_rebuild", "The estimate for fragile stopped before 5", "rebuild --dry-run"),
    ],
)
def test_what_fails_aside_says_what_it_was_and_leaves_no_failure(
    engine_of, append, tmp_path, call, told, again
):
    append(*(Counted(key="a", amount=1) for _ in range(9)))
    engine_of(counting(tmp_path, "fragile")).run()
    engine = engine_of(failing(tmp_path, on=5))

    with pytest.raises(ProjectionFailed, match=told) as raised:
        getattr(engine, call)("fragile")

    assert again in raised.value.hint
    (status,) = engine.status()
    assert (status.state, status.failures) == ("idle", ())


def test_what_fails_in_a_dry_run_says_so_and_leaves_no_failure(engine_of, append, tmp_path):
    append(Counted(key="a"))
    engine = engine_of(failing(tmp_path, on=1))

    (report,) = engine.dry_run()

    assert report.error.message.startswith("The dry run of fragile stopped before 1")
    assert report.error.hint.endswith("eskit --debug project run --dry-run fragile")
    assert engine.status()[0].failures == ()
