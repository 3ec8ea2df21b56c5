"""What others get wrong about rebuild, status and failure: one test for each observation."""

from __future__ import annotations

import time

import pytest

from eskit import ProjectionFailed, StoreUnavailable
from tests.projections.conftest import counting, rows
from tests.projections.ledger import Counted, NoteAdded
from tests.projections.test_failures import failing


@pytest.fixture
def live(engine_of, append, tmp_path):
    """A read model of ten events."""
    append(*(Counted(key="a", amount=1) for _ in range(10)))
    engine = engine_of(counting(tmp_path, "fragile"))
    engine.run()
    return engine


def test_rebuild_never_truncates_the_live_rows_first(live, engine_of, tmp_path):
    seen = []
    watched = failing(tmp_path, on=10)
    handle = watched.handlers["eskit.tests.ledger.v1.Counted"]

    def watching(event, context):
        seen.extend(rows(live, "SELECT amount FROM fragile"))
        handle(event, context)

    watched.handlers["eskit.tests.ledger.v1.Counted"] = watching
    with pytest.raises(ProjectionFailed):
        engine_of(watched).rebuild("fragile")

    assert set(seen) == {(10,)}


def test_rebuild_with_the_store_down_leaves_the_rows_and_fails(live, store, tmp_path):
    store.close()

    with pytest.raises(StoreUnavailable):
        live.rebuild("fragile")

    assert rows(live, "SELECT amount FROM fragile") == [(10,)]


def test_rebuild_with_a_raising_handler_fails(live, engine_of, tmp_path):
    broken = engine_of(failing(tmp_path, on=3))

    with pytest.raises(ProjectionFailed, match="stopped before 3"):
        broken.rebuild("fragile")

    assert broken.status()[0].state == "failed"
    assert rows(live, "SELECT amount FROM fragile") == [(10,)]


def test_status_is_not_ok_after_permanent_failures(engine_of, append, tmp_path):
    append(*(Counted(key="a") for _ in range(12)))
    engine = engine_of(failing(tmp_path, on=1))
    with pytest.raises(ProjectionFailed):
        engine.run()

    (status,) = engine.status()

    assert (status.state, status.lag) == ("failed", 12)


def test_status_with_the_store_gone_is_an_error_and_never_zeros(live, store):
    store.close()

    with pytest.raises(StoreUnavailable):
        live.status()


def test_lag_counts_the_projections_own_events_only(live, append):
    append(*(NoteAdded() for _ in range(50)), Counted(key="a"))

    assert live.status()[0].lag == 1


def test_an_idle_runner_costs_next_to_nothing(engine_of, append, tmp_path):
    from tests.projections.test_following import following

    append(Counted(key="a"))
    engine = engine_of(*(counting(tmp_path, f"p{number}") for number in range(10)))
    with following(engine):
        assert engine.wait_for("p9", 1, timeout=10)
        time.sleep(0.3)
        before = time.process_time()
        time.sleep(2)
        used = time.process_time() - before

    # The target of the benchmark is 0.5 %; this is what no polling loop could reach.
    assert used / 2 < 0.1
