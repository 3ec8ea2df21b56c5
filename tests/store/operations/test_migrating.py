"""Migration from a store of an older schema, built from the older migrations."""

import sqlite3
from pathlib import Path

import pytest

from eskit.errors import (
    InvalidArgument,
    SchemaOutdated,
    SchemaTooNew,
    StoreNotRecognised,
    StoreUnavailable,
)
from eskit.store.open import open_store
from eskit.store.operations.migrating import migrate
from eskit.store.operations.verifying import verify
from eskit.store.sqlite import schema
from eskit.testing.store_contract import texts, values

URL = "sqlite:///log.db"
BACKUP = Path("log.db.v1.backup")
STORE_ID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def old_store():
    """A store as version 1 made it, with two events."""
    connection = sqlite3.connect("log.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in schema.migration_statements(1):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.execute("INSERT INTO store VALUES ('store_id', ?)", (STORE_ID,))
    connection.execute("INSERT INTO streams VALUES (1, 'Account-1', '', 'Account')")
    connection.execute("INSERT INTO kinds VALUES (1, 'Account', 'google.protobuf.StringValue')")
    rows = [
        (1, 1, 1, 1, b"1" * 16, 7, "", None, b"\n\x01a"),
        (2, 1, 2, 1, b"2" * 16, 8, "", None, b"\n\x01b"),
    ]
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()


def tables(path):
    assert Path(path).is_file()
    connection = sqlite3.connect(path)
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    return found


def test_an_older_store_is_migrated_with_a_backup_beside_it(old_store):
    with pytest.raises(SchemaOutdated):
        open_store(URL)

    done = migrate(URL)

    assert (done.before, done.after, done.backup) == (1, schema.current_version(), BACKUP)
    with open_store(URL) as store:
        assert store.store_id == STORE_ID
        assert values(store.read_all()) == ["a", "b"]
        assert verify(store).verdict == "ok"
        assert store.append("Account-1", texts("c"), expected_version=2).global_position == 3
        store.maintenance.erase_stream("Account-1", reason="asked", erased_by="dpo")
    assert "erasures" not in tables(BACKUP)
    migrate(f"sqlite:///{BACKUP}")
    with open_store(f"sqlite:///{BACKUP}") as kept:
        assert values(kept.read_all()) == ["a", "b"]


def test_a_migrated_store_is_the_same_as_a_new_one(old_store):
    migrate(URL)
    open_store("sqlite:///new.db").close()

    assert tables("log.db") == tables("new.db")


def test_a_dry_run_only_says_what_would_be_done(old_store):
    planned = migrate(URL, dry_run=True)

    assert (planned.before, planned.after, planned.needed) == (1, schema.current_version(), True)
    assert planned.backup is None
    assert "erasures" not in tables("log.db")


def test_a_current_store_is_left_alone():
    open_store(URL).close()

    assert not migrate(URL).needed
    assert list(Path().glob("*.backup")) == []


def test_a_backup_that_is_there_is_kept(old_store):
    BACKUP.write_text("mine")

    done = migrate(URL)

    assert done.backup.name == "log.db.v1-2.backup"
    assert BACKUP.read_text() == "mine"


def test_a_migration_that_fails_changes_nothing(old_store, monkeypatch):
    monkeypatch.setattr(
        "eskit.store.sqlite.migrating.migration_statements",
        lambda version: ["CREATE TABLE half (x)", "CREATE TABLE half (x)"],
    )

    with pytest.raises(StoreNotRecognised):
        migrate(URL)

    assert "half" not in tables("log.db")
    with pytest.raises(SchemaOutdated):
        open_store(URL)


def test_a_newer_store_is_refused():
    open_store(URL).close()
    connection = sqlite3.connect("log.db")
    connection.execute(f"PRAGMA user_version = {schema.current_version() + 1}")
    connection.close()

    with pytest.raises(SchemaTooNew):
        migrate(URL)


def test_what_is_no_store_is_refused():
    sqlite3.connect("log.db").close()

    with pytest.raises(StoreNotRecognised):
        migrate(URL)
    with pytest.raises(StoreUnavailable):
        migrate("sqlite:///missing.db")
    with pytest.raises(InvalidArgument):
        migrate("memory://")


def test_another_process_that_holds_the_lock_is_waited_for(old_store, monkeypatch):
    monkeypatch.setattr("eskit.store.sqlite.migrating._TIMEOUT", 0.05)
    other = sqlite3.connect("log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="locked by another process"):
        migrate(URL)

    other.close()
    assert migrate(URL).needed
