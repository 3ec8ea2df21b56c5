"""A checkpoint knows its log: restored, exchanged or shortened ones are noticed."""

from __future__ import annotations

import shutil

import pytest

from eskit import ANY, NewEvent, open_store
from eskit.errors import CheckpointMismatch, ReadModelUnavailable
from eskit.projections.engine import ProjectionEngine
from eskit.projections.opening import default_read_models_url, list_checkpoints, open_read_models
from tests.projections.conftest import alter, counting, rows
from tests.support.account_events import Counted


def fill(store, n: int) -> None:
    store.append(
        "Count-1", [NewEvent(Counted(key="a", amount=1)) for _ in range(n)], expected_version=ANY
    )


@pytest.fixture
def restored(tmp_path, read_models):
    """A read model at 10 events of a log that was set back to its first 5."""
    url = f"sqlite:///{tmp_path}/bank.db"
    with open_store(url) as store:
        fill(store, 5)
    shutil.copy(tmp_path / "bank.db", tmp_path / "backup.db")
    with open_store(url) as store:
        fill(store, 5)
        engine = ProjectionEngine(store, [counting(tmp_path)], read_models)
        engine.run()
        engine.close()
    for leftover in tmp_path.glob("bank.db*"):
        leftover.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "bank.db")
    with open_store(url) as store:
        yield store


def test_a_restored_backup_is_noticed_before_new_events(restored, read_models, tmp_path):
    engine = ProjectionEngine(restored, [counting(tmp_path)], read_models)

    with pytest.raises(CheckpointMismatch, match=r"checkpoint at 10 .* ends at 5"):
        engine.run()

    (status,) = engine.status()
    assert status.state == "failed"
    assert "of another log" in status.error
    engine.close()


def test_a_run_that_cannot_go_on_says_where_it_stands(restored, read_models, tmp_path):
    engine = ProjectionEngine(restored, [counting(tmp_path)], read_models)

    (report,) = engine.run_each()

    assert (report.events, report.position) == (0, 10)
    engine.close()


@pytest.mark.promise("other-logs-are-noticed")
def test_a_restored_backup_is_noticed_when_new_events_have_passed_the_old_head(
    restored, read_models, tmp_path
):
    fill(restored, 20)
    engine = ProjectionEngine(restored, [counting(tmp_path)], read_models)

    with pytest.raises(CheckpointMismatch, match="at 10 it has event") as raised:
        engine.run()

    assert "eskit project rebuild counts" in raised.value.hint
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(10,)]
    engine.close()


@pytest.mark.parametrize("new", [0, 5], ids=["shorter", "as long as before"])
def test_a_query_is_not_answered_from_the_rows_of_a_log_that_was_set_back(
    restored, read_models, tmp_path, new
):
    if new:
        fill(restored, new)
    engine = ProjectionEngine(restored, [counting(tmp_path)], read_models)

    with pytest.raises(CheckpointMismatch, match="has a checkpoint at 10 of another log"):
        engine.catch_up(["counts"])
    with pytest.raises(CheckpointMismatch):
        engine.wait_for("counts", 3, timeout=1)

    engine.rebuild("counts")
    engine.catch_up(["counts"])
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(5 + new,)]
    engine.close()


def test_a_query_is_not_answered_from_the_rows_of_another_store_at_the_same_position(
    append, engine_of, counts, read_models, tmp_path
):
    append(Counted(key="a"))
    engine_of(counts).run()
    with open_store(f"sqlite:///{tmp_path}/other.db") as other:
        fill(other, 1)
        engine = ProjectionEngine(other, [counting(tmp_path)], read_models)

        with pytest.raises(CheckpointMismatch, match=f"this is store {other.store_id}"):
            engine.catch_up()

        engine.close()


def test_a_rebuild_puts_a_mismatch_right(restored, read_models, tmp_path):
    fill(restored, 2)
    engine = ProjectionEngine(restored, [counting(tmp_path)], read_models)

    engine.rebuild("counts")
    engine.run()

    assert engine.status()[0].state == "idle"
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(7,)]
    engine.close()


@pytest.mark.promise("other-logs-are-noticed")
def test_another_store_is_noticed(store, append, engine_of, counts, read_models, tmp_path):
    append(Counted(key="a"))
    engine_of(counts).run()
    with open_store(f"sqlite:///{tmp_path}/other.db") as other:
        fill(other, 3)
        engine = ProjectionEngine(other, [counting(tmp_path)], read_models)

        with pytest.raises(CheckpointMismatch, match=f"this is store {other.store_id}"):
            engine.run()

        engine.close()


def test_others_run_when_one_does_not_fit(restored, read_models, tmp_path):
    engine = ProjectionEngine(
        restored, [counting(tmp_path), counting(tmp_path, "fresh")], read_models
    )

    with pytest.raises(CheckpointMismatch):
        engine.run()

    assert rows(engine, "SELECT COUNT(*) FROM fresh_seen") == [(5,)]
    engine.close()


def test_a_checkpoint_that_cannot_be_read_is_never_taken_for_the_beginning(
    store, engine_of, counts, read_models
):
    fill(store, 5)
    engine = engine_of(counts)
    engine.run()
    alter(read_models, "ALTER TABLE eskit_records RENAME TO misplaced")

    for work in (engine.run, lambda: engine.rebuild("counts"), engine.status):
        with pytest.raises(ReadModelUnavailable, match="eskit_records"):
            work()

    alter(read_models, "ALTER TABLE misplaced RENAME TO eskit_records")
    assert engine.run()[0].events == 0
    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(5,)]


def test_checkpoints_are_listed_without_the_app(engine_of, append, counts, read_models):
    append(Counted(key="a"))
    engine_of(counts).run()

    (checkpoint,) = list_checkpoints(read_models)

    assert (checkpoint.name, checkpoint.position) == ("counts", 1)


def test_listing_checkpoints_creates_no_file(tmp_path):
    assert list_checkpoints(f"sqlite:///{tmp_path}/none.db") == []
    assert not list(tmp_path.iterdir())


def test_read_models_lie_beside_the_store():
    assert default_read_models_url("sqlite:///bank.db") == "sqlite:///bank_read.db"
    assert (
        default_read_models_url("sqlite:////var/bank.db?synchronous=normal")
        == "sqlite:////var/bank_read.db"
    )
    assert default_read_models_url("sqlite:///who%3F%231.db") == "sqlite:///who%3F%231_read.db"
    assert default_read_models_url("memory://") == "memory://"


def test_the_path_of_read_models_is_that_of_their_url(tmp_path):
    assert open_read_models("sqlite:///who%3F.db").path == tmp_path / "who?.db"


@pytest.mark.sqlite_only
def test_a_file_that_is_not_sqlite_is_refused(engine_of, counts, tmp_path):
    (tmp_path / "read.db").write_text("dear diary, this is not a database at all")

    with pytest.raises(ReadModelUnavailable, match="not a database"):
        engine_of(counts).run()


def test_a_read_model_of_a_newer_eskit_is_refused(engine_of, append, counts, read_models):
    engine_of(counts).run()
    alter(read_models, "UPDATE eskit_read_model SET value = '99'")

    with pytest.raises(ReadModelUnavailable, match="newer eskit"):
        engine_of(counts).run()
    with pytest.raises(ReadModelUnavailable, match="newer eskit"):
        engine_of(counts).status()


def test_a_query_before_the_first_run_is_told_so(engine_of, counts):
    with (
        pytest.raises(ReadModelUnavailable, match="No read model"),
        engine_of(counts).reader(),
    ):
        pass
