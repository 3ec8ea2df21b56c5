"""A forked process and the read models that its parent had open."""

import fcntl
from pathlib import Path

import pytest

from eskit.errors import ReadModelUnavailable
from eskit.projections.opening import open_read_models
from tests.support.account_events import Counted
from tests.support.forked import forked

pytestmark = pytest.mark.sqlite_only


@pytest.fixture
def models(engine_of, append, counts, read_models):
    """The read models of a projection that has run."""
    append(Counted(key="a"))
    engine_of(counts).run()
    models = open_read_models(read_models)
    yield models
    models.close()


def refusal_of(work):
    """The text and the hint of the error that a forked child gets."""

    def run():
        try:
            work()
        except ReadModelUnavailable as error:
            return [str(error), error.hint]
        return []

    return forked(run)


def read(models):
    with models.reader() as db:
        return db.execute("SELECT key FROM counts").fetchall()


def write(live):
    with live.transaction():
        live.db.execute("DELETE FROM counts")


@pytest.mark.promise("forks-are-refused")
def test_a_forked_process_neither_opens_nor_goes_on_reading_a_read_model_that_was_open(models):
    assert read(models) == [("a",)]

    anew = refusal_of(lambda: read(open_read_models(models.url)))
    going_on = refusal_of(lambda: read(models))
    for_writing = refusal_of(models.open)

    assert anew == going_on == for_writing
    assert "was open when this process was forked" in anew[0]
    assert "spawn" in anew[1]


def test_a_forked_process_neither_writes_nor_takes_the_lock_of_its_parent(models):
    live = models.open()
    with live.transaction():
        refused, _ = refusal_of(lambda: write(live))

        assert "open when this process was forked" in refused
        with (
            Path(f"{models.path}-locks/write").open("rb") as lock,
            pytest.raises(BlockingIOError),
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    live.close()


def test_closing_read_models_in_a_forked_process_leaves_them_to_its_parent(tmp_path):
    models = open_read_models("memory://")
    models.open().close()

    assert forked(models.close) is None

    assert models.path.exists()
    models.close()


def test_a_read_model_that_was_closed_before_the_fork_is_used_in_the_child(models):
    models.close()

    def read_anew():
        with open_read_models(models.url).reader() as db:
            return db.execute("SELECT key FROM counts").fetchone()

    assert forked(read_anew) == ["a"]
