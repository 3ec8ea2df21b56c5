"""Migration from a store of an older schema, built from the older migrations."""

import sqlite3
from pathlib import Path
from uuid import UUID
from zlib import crc32

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, NewEvent
from eskit.errors import (
    EventIdReused,
    InvalidArgument,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
)
from eskit.operations.erasing import erase
from eskit.operations.files import migrate
from eskit.operations.verifying import verify
from eskit.store.open import open_store
from eskit.store.sqlite import migrating, schema
from eskit.testing.store_contract import texts, values
from tests.support.coded import coded

URL = "sqlite:///log.db"
BACKUP = Path("log.db.v1.backup")
STORE_ID = "11111111-2222-3333-4444-555555555555"
GIVEN = UUID("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee")
METADATA = '{"principal_id":"ann"}'


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


@pytest.mark.promise("migrations-resume")
def test_an_older_store_is_migrated_with_a_backup_beside_it(old_store):
    with pytest.raises(StoreError, check=coded("SCHEMA_OUTDATED")):
        open_store(URL)

    done = migrate(URL)

    assert (done.before, done.after, done.backup) == (1, schema.current_version(), BACKUP)
    with open_store(URL) as store:
        assert store.store_id == STORE_ID
        assert values(store.read_all()) == ["a", "b"]
        assert verify(store).verdict == "ok"
        assert store.append("Account-1", texts("c"), expected_version=2).global_position == 3
        erase(store, ["Account-1"], reason="asked", erased_by="dpo")
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


@pytest.mark.promise("migrations-resume")
def test_a_migration_that_fails_changes_nothing(old_store, monkeypatch):
    monkeypatch.setattr(
        "eskit.store.sqlite.migrating.migration_statements",
        lambda version: ["CREATE TABLE half (x)", "CREATE TABLE half (x)"],
    )

    with pytest.raises(StoreDamaged, check=coded("STORE_NOT_RECOGNISED")):
        migrate(URL)

    assert "half" not in tables("log.db")
    with pytest.raises(StoreError, check=coded("SCHEMA_OUTDATED")):
        open_store(URL)


def test_a_newer_store_is_refused():
    open_store(URL).close()
    connection = sqlite3.connect("log.db")
    connection.execute(f"PRAGMA user_version = {schema.current_version() + 1}")
    connection.close()

    with pytest.raises(StoreError, check=coded("SCHEMA_TOO_NEW")):
        migrate(URL)


def test_what_is_no_store_is_refused():
    sqlite3.connect("log.db").close()

    with pytest.raises(StoreDamaged, check=coded("STORE_NOT_RECOGNISED")):
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


@pytest.fixture
def store_of_version_5():
    """A store as version 5 made it: with an id that is there twice."""
    connection = sqlite3.connect("log.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    for version in range(1, 6):
        for statement in schema.migration_statements(version):
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 5")
    connection.execute("INSERT INTO store VALUES ('store_id', ?)", (STORE_ID,))
    connection.execute("INSERT INTO streams VALUES (1, 'Account-1', 'acme', 'Account')")
    connection.execute("INSERT INTO kinds VALUES (1, 'Account', 'google.protobuf.StringValue')")
    rows = [
        (
            at,
            1,
            at,
            1,
            GIVEN.bytes,
            at,
            METADATA,
            None,
            b"\n\x01a",
            crc32(METADATA.encode() + b"\n\x01a"),
        )
        for at in (1, 2)
    ]
    rows += [
        (at, 1, at, 1, uuid_bytes(at), at * 1000, "", None, b"\n\x01b", crc32(b"\n\x01b"))
        for at in range(3, 31)
    ]
    rows.append((31, 1, 31, 1, uuid_bytes(31), 31_000, "", None, b"\n\x01c", None))
    connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    commands = [("acme", f"c{at}", "Open", 1, at, at, at, b"answer") for at in range(1, 8)]
    connection.executemany("INSERT INTO commands VALUES (?, ?, ?, ?, ?, ?, ?, ?)", commands)
    connection.close()
    return Path("log.db")


def uuid_bytes(milliseconds):
    """An id that eskit makes at a time."""
    return milliseconds.to_bytes(6, "big") + b"\x70\x00\x80" + bytes(7)


def execute(statement, parameters=()):
    connection = sqlite3.connect("log.db")
    with connection:
        connection.execute(statement, parameters)
    connection.close()


def codes(found):
    return [(finding.code, finding.position) for finding in found.findings]


@pytest.mark.promise("event-ids-are-unique")
def test_ids_that_an_older_eskit_took_twice_are_listed_and_never_taken_again(store_of_version_5):
    migrate(URL)

    with open_store(URL) as store:
        found = verify(store)
        again = NewEvent(StringValue(value="other"), event_id=str(GIVEN))
        with pytest.raises(EventIdReused):
            store.for_tenant("acme").append("Account-1", [again], expected_version=ANY)
        same = NewEvent(StringValue(value="b"), event_id=str(UUID(bytes=uuid_bytes(7))))
        first = store.for_tenant("acme").append("Account-1", [same], expected_version=ANY)

    assert (found.verdict, codes(found)) == ("ok", [("EVENT_ID_REPEATED", 2)])
    assert "has the id of the one at 1" in found.findings[0].message
    assert (first.version, first.global_position, first.already_processed) == (7, 7, True)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE events SET recorded_at = recorded_at + 1 WHERE global_position = 4",
        "UPDATE events SET event_id = zeroblob(16) WHERE global_position = 4",
        "UPDATE events SET data = x'0a0162' || x'' WHERE global_position = 31",
        "UPDATE commands SET response = x'00' WHERE command_id = 'c4'",
        "UPDATE commands SET fingerprint = 'Close' WHERE command_id = 'c4'",
        "UPDATE commands SET recorded_at = 5 WHERE command_id = 'c4'",
    ],
)
@pytest.mark.promise("checksums-cover-records")
def test_after_the_migration_every_part_of_a_record_is_covered(store_of_version_5, change):
    migrate(URL)

    execute(change)

    with open_store(URL) as store:
        assert verify(store).verdict == "damaged"


@pytest.mark.promise("checksums-cover-records")
def test_what_was_damaged_before_the_migration_keeps_its_mark(store_of_version_5):
    execute("UPDATE events SET data = x'0a0178' WHERE global_position = 9")

    done = migrate(URL)

    assert done.backup.is_file()
    with open_store(URL) as store:
        assert codes(verify(store))[0] == ("EVENT_CHANGED", 9)
        erase(store.for_tenant("acme"), ["Account-1"], reason="asked", erased_by="dpo")
        assert ("EVENT_CHANGED", 9) in codes(verify(store))


@pytest.mark.parametrize("after", range(6))
@pytest.mark.promise("migrations-resume")
def test_a_migration_that_was_broken_off_is_gone_on_with(store_of_version_5, monkeypatch, after):
    monkeypatch.setattr("eskit.store.sqlite.migrating._EVENTS_AT_ONCE", 10)
    monkeypatch.setattr("eskit.store.sqlite.migrating._COMMANDS_AT_ONCE", 3)
    steps = []
    renew = migrating._Steps._renew_some

    def renew_until_killed(self):
        if len(steps) == after:
            raise KeyboardInterrupt
        steps.append(after)
        return renew(self)

    with monkeypatch.context() as interrupting:
        interrupting.setattr(migrating._Steps, "_renew_some", renew_until_killed)
        with pytest.raises(KeyboardInterrupt):
            migrate(URL)
    with pytest.raises(StoreError, check=coded("SCHEMA_OUTDATED")):
        open_store(URL)

    done = migrate(URL)

    assert (done.before, done.after) == (5, schema.current_version())
    assert [path.name for path in Path().glob("*.backup")] == [done.backup.name]
    with open_store(URL) as store:
        assert codes(verify(store)) == [("EVENT_ID_REPEATED", 2)]
        assert store.for_tenant("acme").find_command("c7").response == b"answer"


@pytest.mark.promise("migrations-resume")
def test_an_older_eskit_that_has_the_file_open_appends_nothing_any_more(store_of_version_5):
    older = sqlite3.connect("log.db")
    migrate(URL)

    with pytest.raises(sqlite3.OperationalError, match="checksum"):
        older.execute(
            "INSERT INTO events (global_position, stream_id, version, kind_id, event_id, "
            "recorded_at, metadata, data, checksum) VALUES (40, 1, 40, 1, x'', 1, '', x'', 0)"
        )
    older.close()


def test_large_events_are_migrated_some_at_a_time(store_of_version_5, monkeypatch):
    monkeypatch.setattr("eskit.store.sqlite.migrating._BYTES_AT_ONCE", 8)
    reported = []

    migrate(URL, progress=reported.append)

    assert len([p for p in reported if p.name == "checksums"]) > 10
    with open_store(URL) as store:
        assert verify(store).verdict == "ok"
