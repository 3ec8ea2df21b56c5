"""Projections over a restored store: who can go on, and who has to be rebuilt."""

from pathlib import Path

import pytest

from eskit import ANY, NewEvent
from eskit.errors import CheckpointMismatch
from eskit.operations.files import back_up, restore
from eskit.projections.engine import ProjectionEngine
from eskit.store.open import open_store
from eskit.store.reports import no_progress
from tests.projections.conftest import counting, rows
from tests.support.account_events import Counted


def append(store, *keys):
    events = [NewEvent(Counted(key=key, amount=1)) for key in keys]
    store.append("Account-1", events, expected_version=ANY)


@pytest.fixture
def engine(tmp_path, read_models):
    """`early` saw what the backup has, `late` more, `idle` nothing; the backup is restored."""
    url, backup = f"sqlite:///{tmp_path}/log.db", Path(tmp_path / "backup.db")
    projections = [counting(tmp_path, name) for name in ("early", "idle", "late")]
    with open_store(url) as store:
        engine = ProjectionEngine(store, projections, read_models)
        append(store, "a", "b")
        engine.run(["early"])
        back_up(store, backup, progress=no_progress)
        append(store, "c")
        engine.run(["late"])
        engine.close()
    restore(backup, url)
    with open_store(url) as store:
        engine = ProjectionEngine(store, projections, read_models)
        yield engine
        engine.close()


def repair(engine, **options):
    return [
        (found.name, found.position, bool(found.problem))
        for found in engine.repair_checkpoints(by="ops", **options)
    ]


@pytest.mark.promise("restores-keep-the-original")
def test_a_projection_whose_last_event_was_restored_goes_on_with_its_rows(engine):
    with pytest.raises(CheckpointMismatch):
        engine.run(["early"])

    repaired = repair(engine)
    append(engine._log, "d")
    engine.run(["early"])

    assert repaired == [("early", 2, False), ("late", 3, True)]
    assert rows(engine, "SELECT position FROM early_seen ORDER BY position") == [(1,), (2,), (3,)]
    (decision,) = engine.decisions("early")
    assert (decision.action, decision.decided_by) == ("repair checkpoint", "ops")


def test_a_projection_that_saw_lost_events_waits_for_its_rebuild(engine):
    repair(engine)
    append(engine._log, "d")  # another event, where the lost one was

    still = repair(engine)
    with pytest.raises(CheckpointMismatch):
        engine.run(["late"])
    engine.rebuild("late")

    assert still == [("late", 3, True)]
    assert repair(engine) == []
    assert rows(engine, "SELECT key FROM late ORDER BY key") == [("a",), ("b",), ("d",)]


def test_a_dry_run_repairs_nothing(engine):
    planned = repair(engine, dry_run=True)

    assert planned == repair(engine, dry_run=True) == [("early", 2, False), ("late", 3, True)]
    assert engine.decisions("early") == []
    with pytest.raises(CheckpointMismatch):
        engine.run(["early"])


def test_projections_of_this_store_need_no_repair(engine):
    engine.run(["idle"])

    assert "idle" not in [name for name, *_ in repair(engine)]
