"""The files that SQLite keeps beside a read model, deleted while it is open."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from eskit.errors import ReadModelUnavailable
from eskit.projections.opening import open_read_models
from tests.projections.conftest import rows
from tests.support.account_events import Counted

OPENING = """
import sys
from eskit.projections.opening import open_read_models
models = open_read_models(sys.argv[1])
models.open().close()
"""

pytestmark = pytest.mark.sqlite_only


@pytest.fixture
def beside(tmp_path):
    return lambda suffix: Path(tmp_path / f"read.db{suffix}")


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_rows_are_not_written_where_nobody_would_find_them(
    engine_of, append, counts, read_models, beside, suffix
):
    engine = engine_of(counts)
    append(Counted(key="a", amount=1))
    engine.run()
    engine.close()
    with closing(open_read_models(read_models).open()) as model:
        with model.transaction():
            pass
        beside(suffix).unlink()

        with (
            pytest.raises(ReadModelUnavailable, match=f"while it was open: read.db{suffix}"),
            model.transaction(),
        ):
            pass
        refused = subprocess.run(
            [sys.executable, "-c", OPENING, read_models],
            capture_output=True,
            text=True,
            check=False,
        )

        assert f"is open, and read.db{suffix} was deleted meanwhile" in refused.stderr
        assert not beside(suffix).exists()
    append(Counted(key="a", amount=1))
    again = engine_of(counts)
    again.run()
    assert rows(again, "SELECT position FROM counts_seen") == [(1,), (2,)]


WRITING = """
import os, sys
from eskit.projections.opening import open_read_models
model = open_read_models(sys.argv[1]).open()
with model.transaction():
    model.db.execute("CREATE TABLE mine (x)")
os.kill(os.getpid(), 9)
"""


@pytest.mark.promise("logs-do-not-mix")
def test_a_file_put_in_place_does_not_get_the_last_rows_of_what_was_there(
    engine_of, append, counts, read_models, beside
):
    engine = engine_of(counts)
    append(Counted(key="a", amount=1))
    engine.run()
    engine.close()
    kept = beside("").read_bytes()
    subprocess.run([sys.executable, "-c", WRITING, read_models], check=False)
    assert beside("-wal").stat().st_size
    beside(".kept").write_bytes(kept)
    beside(".kept").replace(beside(""))

    with pytest.raises(ReadModelUnavailable, match="replaced another file") as refused:
        engine_of(counts).run()

    assert beside("").read_bytes() == kept
    command = refused.value.hint.partition(": ")[2].partition(". eskit")[0]
    subprocess.run(command.split(), check=True)
    append(Counted(key="a", amount=1))
    again = engine_of(counts)
    again.run()
    assert rows(again, "SELECT position FROM counts_seen") == [(1,), (2,)]


def test_what_a_killed_process_committed_is_there(read_models):
    subprocess.run([sys.executable, "-c", WRITING, read_models], check=False)

    models = open_read_models(read_models)
    with closing(models.open()) as model:
        assert model.db.execute("SELECT count(*) FROM mine").fetchone() == (0,)
    models.close()
