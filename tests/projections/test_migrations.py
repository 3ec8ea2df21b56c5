"""Migrations of read models: in order, once, all or none, and never edited."""

from __future__ import annotations

import pytest

from eskit import Projection
from eskit.errors import MigrationInvalid, RebuildNeeded
from tests.projections.conftest import counting, execute, rows
from tests.support.account_events import Counted


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "balance"
    folder.mkdir()
    return folder


def balance(folder, *, version: int = 1) -> Projection:
    projection = Projection("balance", migrations=folder, version=version)

    @projection.on(Counted)
    def counted(event, context):
        execute(context.db, "INSERT INTO balance (id) VALUES (?)", event.key)

    return projection


FIRST = "CREATE TABLE balance (id TEXT);"


def test_migrations_run_in_the_order_of_their_numbers(engine_of, folder):
    """Also beyond nine, and with any width of number."""
    (folder / "1_initial.sql").write_text(FIRST)
    for number in range(2, 12):
        (folder / f"{number:03}_column.sql").write_text(
            f"ALTER TABLE balance ADD COLUMN c{number} TEXT;"
        )
    engine = engine_of(balance(folder))

    engine.run()

    with engine.reader() as db:
        columns = [column[0] for column in db.execute("SELECT * FROM balance").description]
    assert columns == ["id", *(f"c{number}" for number in range(2, 12))]


def test_a_new_migration_keeps_the_rows(engine_of, append, folder):
    (folder / "1_initial.sql").write_text(FIRST)
    append(Counted(key="a"))
    engine_of(balance(folder)).run()
    (folder / "2_owner.sql").write_text("ALTER TABLE balance ADD COLUMN owner TEXT DEFAULT 'x';")
    append(Counted(key="b"))
    engine = engine_of(balance(folder))

    engine.run()

    assert rows(engine, "SELECT * FROM balance") == [("a", "x"), ("b", "x")]


@pytest.mark.sqlite_only
def test_triggers_strings_and_comments_may_hold_semicolons(engine_of, folder):
    (folder / "1_initial.sql").write_text(
        """
        CREATE TABLE balance (id TEXT DEFAULT ';'); -- a comment; with one
        CREATE TABLE log (id TEXT);
        CREATE TRIGGER balance_log AFTER INSERT ON balance BEGIN
            INSERT INTO log VALUES (NEW.id);
            INSERT INTO log VALUES ('again; and again');
        END;
        /* the end; really */
        """
    )
    engine = engine_of(balance(folder))

    engine.run()

    assert rows(engine, "SELECT name FROM sqlite_master WHERE type = 'trigger'") == [
        ("balance_log",)
    ]


def refused(engine_of, folder, match):
    engine = engine_of(balance(folder))
    with pytest.raises(MigrationInvalid, match=match) as raised:
        engine.run()
    return raised.value


def test_a_gap_is_refused(engine_of, folder):
    (folder / "1_initial.sql").write_text(FIRST)
    (folder / "3_later.sql").write_text("SELECT 1;")

    error = refused(engine_of, folder, "should continue with number 2, but the next is 3_later")

    assert "projection 'balance'" in error.message


def test_twins_are_refused(engine_of, folder):
    (folder / "1_initial.sql").write_text(FIRST)
    (folder / "01_other.sql").write_text("SELECT 1;")

    refused(engine_of, folder, "should continue with number 2")


def test_a_file_without_a_number_is_refused(engine_of, folder):
    (folder / "initial.sql").write_text(FIRST)

    error = refused(engine_of, folder, "initial.sql, which is not named like a migration")

    assert "Projection 'balance'" in error.message


def test_a_missing_folder_is_refused(engine_of, folder):
    folder.rmdir()

    refused(engine_of, folder, "has no migrations folder")


def test_an_edited_migration_is_refused_until_a_rebuild(engine_of, append, folder):
    (folder / "1_initial.sql").write_text(FIRST)
    append(Counted(key="a"))
    engine_of(balance(folder)).run()
    (folder / "1_initial.sql").write_text("CREATE TABLE balance (id TEXT, more TEXT);")

    error = refused(engine_of, folder, "1_initial .* was edited")
    assert error.hint.endswith("eskit project rebuild balance")

    engine = engine_of(balance(folder))
    engine.rebuild("balance")
    engine.run()
    assert rows(engine, "SELECT * FROM balance") == [("a", None)]


def test_line_ends_are_no_edit(engine_of, folder):
    (folder / "1_initial.sql").write_bytes(b"CREATE TABLE balance (\nid TEXT);\n")
    engine_of(balance(folder)).run()
    (folder / "1_initial.sql").write_bytes(b"CREATE TABLE balance (\r\nid TEXT);\r\n")

    engine_of(balance(folder)).run()


def test_a_removed_migration_is_refused(engine_of, folder):
    (folder / "1_initial.sql").write_text(FIRST)
    (folder / "2_more.sql").write_text("ALTER TABLE balance ADD COLUMN more TEXT;")
    engine_of(balance(folder)).run()
    (folder / "2_more.sql").unlink()

    refused(engine_of, folder, "2_more .* its file is gone")


def test_a_migration_that_fails_leaves_nothing(engine_of, folder):
    (folder / "1_initial.sql").write_text(FIRST + "CREATE TABLE second (id TEXT);")
    (folder / "2_wrong.sql").write_text("CREATE TABLE third (id TEXT); SELECT * FROM nowhere;")

    error = refused(engine_of, folder, "2_wrong .* does not run: .*nowhere")

    assert "nothing of it was applied" in error.hint
    engine = engine_of(balance(folder))
    engine.prepare()
    for table in ("balance", "third"):
        with pytest.raises(Exception, match=table):
            rows(engine, f"SELECT * FROM {table}")  # noqa: S608


def test_a_migration_cannot_commit(engine_of, folder):
    (folder / "1_initial.sql").write_text(f"BEGIN; {FIRST} COMMIT;")

    refused(engine_of, folder, "begins or ends a transaction")


def test_a_raised_version_waits_for_a_rebuild(engine_of, append, folder):
    (folder / "1_initial.sql").write_text(FIRST)
    append(Counted(key="a"))
    engine_of(balance(folder)).run()
    append(Counted(key="b"))
    engine = engine_of(balance(folder, version=2))

    with pytest.raises(RebuildNeeded, match=r"made by version 1 .* the code is version 2"):
        engine.run()

    (status,) = engine.status()
    assert (status.state, status.position) == ("failed", 1)
    assert status.error.startswith("needs a rebuild")
    engine.rebuild("balance")
    assert rows(engine, "SELECT * FROM balance") == [("a",), ("b",)]
    assert engine.status()[0].state == "idle"


def test_two_projections_with_one_table_are_refused(engine_of, tmp_path):
    one, two = counting(tmp_path, "one"), counting(tmp_path, "two")
    two.migrations = one.migrations

    with pytest.raises(MigrationInvalid, match=r"one.* already exists"):
        engine_of(one, two).run()
    with pytest.raises(MigrationInvalid, match="already belongs to 'one'"):
        engine_of(one, two).rebuild("two")


def test_a_migration_that_needs_history_waits_for_a_rebuild(engine_of, append, folder):
    (folder / "1_initial.sql").write_text(FIRST)
    append(Counted(key="a"))
    engine_of(balance(folder)).run()
    (folder / "2_owner.sql").write_text(
        "-- eskit: rebuild\nALTER TABLE balance ADD COLUMN owner TEXT DEFAULT 'x';"
    )
    append(Counted(key="b"))
    engine = engine_of(balance(folder))

    with pytest.raises(RebuildNeeded, match="2_owner"):
        engine.run()
    (waiting,) = engine.status()
    kept = rows(engine, "SELECT * FROM balance")
    needed = engine.needs_rebuild("balance")
    engine.rebuild("balance")

    assert (waiting.state, waiting.position) == ("failed", 1)
    assert "needs the events" in waiting.error
    assert kept == [("a",)]
    assert needed
    assert not engine.needs_rebuild("balance")
    assert rows(engine, "SELECT * FROM balance") == [("a", "x"), ("b", "x")]
    assert engine.status()[0].state == "idle"
