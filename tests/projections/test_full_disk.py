"""A disk without room for the rows of a rebuild."""

from __future__ import annotations

import shutil

import pytest

from eskit.errors import ReadModelUnavailable
from eskit.projections.engine import ProjectionEngine
from tests.projections.conftest import rows
from tests.support.account_events import Counted

pytestmark = pytest.mark.sqlite_only


@pytest.mark.parametrize("in_place", [False, True], ids=["beside", "in place"])
def test_a_rebuild_without_room_leaves_the_live_rows_and_works_when_there_is(
    in_place, small_disk, store, append, counts
):
    append(*(Counted(key=f"{n:03}" * 300, amount=n) for n in range(100)))
    engine = ProjectionEngine(store, [counts], f"sqlite:///{small_disk}/read.db")
    engine.run()
    live = rows(engine, "SELECT * FROM counts")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 60_000))

    with pytest.raises(ReadModelUnavailable, match="full"):
        engine.rebuild("counts", in_place=in_place)

    assert rows(engine, "SELECT * FROM counts") == live
    assert engine.status()[0].state == "idle"
    filler.unlink()
    assert engine.rebuild("counts", in_place=in_place).position == 100
    assert rows(engine, "SELECT * FROM counts") == live
    engine.close()
