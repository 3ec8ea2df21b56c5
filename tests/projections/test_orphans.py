"""A projection that was renamed keeps its rows; one that was removed leaves nothing."""

from __future__ import annotations

import pytest

from eskit import Projection
from eskit.errors import InvalidArgument, MigrationInvalid, ProjectionBusy, ProjectionError
from eskit.projections.bookkeeping import list_decisions
from eskit.projections.locks import lock_of
from eskit.projections.opening import open_read_models
from eskit.projections.orphans import drop, rename
from tests.projections.conftest import counting, rows
from tests.support.account_events import Counted
from tests.support.coded import coded

WHY = {"reason": "a better name", "by": "ann"}


@pytest.fixture
def models(read_models):
    models = open_read_models(read_models)
    yield models
    models.close()


@pytest.fixture
def renamed(engine_of, append, counts):
    """A projection by a new name, after ten events were handled by the old one."""
    append(*(Counted(key="a", amount=1) for _ in range(10)))
    engine = engine_of(counts)
    engine.run()
    engine.pause("counts", reason="wait", by="ann")
    renamed = Projection("tallies", migrations=counts.migrations)
    renamed.handlers.update(counts.handlers)
    return renamed


@pytest.mark.promise("tables-belong-to-projections")
def test_a_renamed_projection_is_told_whose_tables_it_stumbles_over(engine_of, renamed):
    engine = engine_of(renamed)

    for work in (engine.run, lambda: engine.rebuild("tallies")):
        with pytest.raises(MigrationInvalid, match="belongs to 'counts'") as raised:
            work()
        assert "eskit project rename counts tallies" in raised.value.hint


@pytest.mark.promise("tables-belong-to-projections")
def test_a_renamed_projection_goes_on_where_it_was(engine_of, renamed, models, append):
    rename(models, "counts", "tallies", **WHY)
    append(Counted(key="a", amount=1))
    engine = engine_of(renamed)

    (paused,) = engine.status()
    engine.resume("tallies", reason="renamed", by="ann")
    (report,) = engine.run()

    assert (paused.state, paused.pause, paused.position, paused.lag) == ("paused", "wait", 10, 1)
    assert report.events == 1
    assert rows(engine, "SELECT amount FROM counts") == [(11,)]
    assert [made.action for made in engine.decisions("tallies")] == ["pause", "rename", "resume"]
    assert [checkpoint.name for checkpoint in engine.checkpoints()] == ["tallies"]
    assert engine.rebuild("tallies").events == 11
    assert engine.diff("tallies").equal


def test_a_name_that_has_rows_of_its_own_is_not_taken(engine_of, append, tmp_path, models):
    append(Counted(key="a"))
    engine_of(counting(tmp_path, "one"), counting(tmp_path, "other")).run()

    with pytest.raises(InvalidArgument, match="already has rows of 'other'"):
        rename(models, "one", "other", **WHY)
    with pytest.raises(
        ProjectionError,
        check=coded("PROJECTION_NOT_FOUND"),
        match="keeps nothing of a projection 'none'",
    ):
        rename(models, "none", "new", **WHY)


def test_a_projection_that_somebody_runs_is_neither_renamed_nor_dropped(renamed, models):
    with lock_of(models, "counts", "run"):
        with pytest.raises(ProjectionBusy):
            rename(models, "counts", "tallies", **WHY)
        with pytest.raises(ProjectionBusy):
            drop(models, "counts", **WHY)


def test_a_dropped_projection_leaves_its_audit_record_and_others(
    engine_of, append, renamed, models, tmp_path
):
    engine_of(counting(tmp_path, "other")).run()

    drop(models, "counts", **WHY)

    engine = engine_of(counting(tmp_path, "other"))
    for gone in ("counts", "counts_seen"):
        with pytest.raises(Exception, match=gone):
            rows(engine, f"SELECT * FROM {gone}")  # noqa: S608
    assert rows(engine, "SELECT amount FROM other") == [(10,)]
    assert [made.action for made in list_decisions(models, "counts")] == ["pause", "drop"]
    (begun_anew,) = engine_of(renamed).run()
    assert begun_anew.events == 10
