"""A read-model file keeps its rows and checkpoints when a newer eskit opens it."""

from __future__ import annotations

import sqlite3

import pytest

from tests.projections.conftest import rows
from tests.support.account_events import Counted

ADDED_IN_2 = ("eskit_letters", "eskit_skips", "eskit_effects")


def change(path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def set_back(path, version: int) -> None:
    """The file as that version of eskit's tables left it."""
    drops = [f"DROP TABLE {name}" for name in ADDED_IN_2] if version < 2 else []
    change(
        path,
        *drops,
        "ALTER TABLE eskit_projections DROP COLUMN place",
        f"UPDATE eskit_read_model SET value = '{version}' WHERE key = 'schema_version'",  # noqa: S608
    )


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_an_older_version_goes_on_where_it_was(
    version, engine_of, append, counts, tmp_path
):
    append(Counted(key="a", amount=1))
    engine_of(counts).run()
    set_back(tmp_path / "read.db", version)
    append(Counted(key="a", amount=1))
    engine = engine_of(counts)

    (before,) = engine.status()
    (report,) = engine.run()

    assert (before.position, before.lag, before.error) == (1, 1, "")
    assert (report.events, report.position) == (1, 2)
    assert rows(engine, "SELECT amount FROM counts") == [(2,)]


def test_a_file_of_an_older_version_takes_a_rebuild(engine_of, append, counts, tmp_path):
    append(Counted(key="a", amount=1))
    engine_of(counts).run()
    set_back(tmp_path / "read.db", 1)
    append(Counted(key="a", amount=1))
    engine = engine_of(counts)

    report = engine.rebuild("counts")

    assert (report.events, engine.checkpoints()[0].position) == (2, 2)
    assert rows(engine, "SELECT amount FROM counts") == [(2,)]
    assert engine.run()[0].events == 0
