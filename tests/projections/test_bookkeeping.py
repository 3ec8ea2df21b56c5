"""A read-model file keeps its rows and all that is kept of projections when a newer eskit opens it.

``read-model-3.sql`` is the dump of a file that eskit has written with version 3 of its tables.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from eskit.projections import bookkeeping
from eskit.projections.opening import open_read_models
from eskit.projections.records import (
    Decision,
    Effect,
    EventPosition,
    Failure,
    ProjectionDeadLetter,
    ProjectionState,
    Skip,
)
from tests.projections.conftest import counting, rows
from tests.support.account_events import Counted

DUMP = Path(__file__).with_name("read-model-3.sql")
pytestmark = pytest.mark.sqlite_only
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
ADDED_IN_2 = ("eskit_letters", "eskit_skips", "eskit_effects")


def write(path, *, version: int = 3, then: tuple[str, ...] = ()) -> None:
    """The file as that version of eskit's tables had it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(DUMP.read_text(encoding="utf-8"))
        for name in ADDED_IN_2 if version < 2 else ():
            connection.execute(f"DROP TABLE {name}")
        if version < 3:
            connection.execute("ALTER TABLE eskit_projections DROP COLUMN place")
        connection.execute("UPDATE eskit_read_model SET value = ?", (str(version),))
        for statement in then:
            connection.execute(statement)
    connection.close()


def event_id(number: int) -> str:
    return f"019367a0-0000-7000-8000-{number:012d}"


def at(number: int) -> dict[str, object]:
    return {
        "projection": "counts",
        "position": number,
        "event_id": event_id(number),
        "event_type": "ledger.v1.Counted",
        "stream": "Account-1",
    }


@pytest.mark.parametrize("reads_first", [True, False])
def test_everything_that_was_kept_is_kept_as_records(tmp_path, reads_first):
    write(tmp_path / "read.db")
    models = open_read_models(f"sqlite:///{tmp_path}/read.db")
    if not reads_first:
        models.open().close()

    failed = {"error": "KeyError: 'eur'", "traceback": "Traceback …"}
    (state,) = bookkeeping.list_states(models)
    assert state == ProjectionState(
        name="counts",
        version=2,
        store_id="0f5a5c1e-8a77-4d1e-9d53-6f1c2d1e5f0a",
        checkpoint=EventPosition(7, event_id(7)),
        updated_at=state.updated_at,
        pause="rates are wrong",
        has_exceptions=True,
    )
    assert state.checkpoint.place == "stream 12"
    assert state.updated_at.year == 2026
    assert bookkeeping.find_failures(models, "counts") == [
        Failure(**at(8), phase="run", failed_at=NOON, **failed),
        Failure(**at(4), phase="rebuild", failed_at=NOON, **failed),
    ]
    held = {"tenant": "acme", "holds_stream": True, "since": NOON}
    assert bookkeeping.find_dead_letters(models, "counts") == [
        ProjectionDeadLetter(**at(5), state="failed", attempts=3, **held, **failed),
        ProjectionDeadLetter(**at(6), state="waiting", attempts=0, error="", traceback="", **held),
    ]
    assert bookkeeping.find_skips(models, "counts") == [
        Skip(**at(3), reason="booked twice", decided_by="ann", decided_at=NOON)
    ]
    mail = Effect(
        projection="counts",
        event_id=event_id(2),
        name="mail",
        position=2,
        function="tests.projections.ledger:mail",
        arguments='{"args": [], "kwargs": {}}',
        attempts=1,
        error="OSError: down",
    )
    assert bookkeeping.find_effects(models, "counts") == [mail]
    assert [(made.name, made.number) for made in bookkeeping.find_migrations(models, "counts")] == [
        ("0001_counts", 1)
    ]
    decisions = bookkeeping.list_decisions(models, "counts")
    assert [(made.action, made.decided_by) for made in decisions] == [
        ("skip", "ann"),
        ("pause", "bob"),
    ]
    assert bookkeeping.list_decisions(models, "gone") == [
        Decision(
            projection="gone",
            action="drop",
            detail="at 2",
            reason="not needed",
            decided_by="bob",
            decided_at=NOON,
        )
    ]
    models.close()


def test_what_was_called_before_is_not_called_again(tmp_path):
    write(tmp_path / "read.db")
    models = open_read_models(f"sqlite:///{tmp_path}/read.db")
    model = models.open()
    called = Effect(
        projection="counts",
        event_id=event_id(1),
        name="mail",
        position=1,
        function="",
        arguments="",
    )

    with model.transaction():
        recorded = bookkeeping.record_effect(model, called)

    assert not recorded
    model.close()
    models.close()


def test_no_table_of_an_older_version_is_left(tmp_path):
    write(tmp_path / "read.db")
    models = open_read_models(f"sqlite:///{tmp_path}/read.db")
    models.open().close()

    with models.reader() as db:
        tables = db.execute("SELECT name FROM sqlite_master WHERE name LIKE 'eskit%'").fetchall()

    assert sorted(tables) == [("eskit_objects",), ("eskit_read_model",), ("eskit_records",)]
    models.close()


@pytest.fixture
def older(store, append, tmp_path):
    """Writes a file of an older version, whose projection has handled the first event."""
    append(Counted(key="a", amount=1))
    (first,) = store.read_all()

    def write_older(version: int):
        write(
            tmp_path / "read.db",
            version=version,
            then=(
                "DELETE FROM eskit_pauses",
                "DELETE FROM eskit_failures",
                "UPDATE counts SET amount = 1",
                "UPDATE eskit_projections SET position = 1",
                f"UPDATE eskit_projections SET store_id = '{store.store_id}'",  # noqa: S608
                f"UPDATE eskit_projections SET event_id = '{first.event_id}'",  # noqa: S608
                *(f"DELETE FROM {name}" for name in ADDED_IN_2 if version > 1),  # noqa: S608
            ),
        )
        append(Counted(key="a", amount=1))
        return counting(tmp_path, version=2)

    return write_older


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_file_of_an_older_version_goes_on_where_it_was(version, engine_of, older):
    engine = engine_of(older(version))

    (before,) = engine.status()
    (report,) = engine.run()

    assert (before.position, before.lag, before.error) == (1, 1, "")
    assert (report.events, report.position) == (1, 2)
    assert rows(engine, "SELECT amount FROM counts") == [(2,)]
    assert engine.diff("counts").equal


@pytest.mark.parametrize("version", [1, 3])
def test_a_file_of_an_older_version_takes_a_rebuild(version, engine_of, older):
    engine = engine_of(older(version))

    report = engine.rebuild("counts")

    assert (report.events, engine.checkpoints()[0].position) == (2, 2)
    assert rows(engine, "SELECT amount FROM counts") == [(2,)]
    assert engine.run()[0].events == 0
