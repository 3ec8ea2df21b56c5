"""Backups: consistent while others write, checked, and never taken for their original."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eskit.domain.streams import ANY
from eskit.errors import ProjectError, StoreDamaged, StoreError, StoreUnavailable
from eskit.operations.files import back_up
from eskit.operations.verifying import verify
from eskit.store.open import open_store
from eskit.store.reports import no_progress
from eskit.testing.maintenance_contract import records
from eskit.testing.store_contract import texts
from tests.store.operations.damaging import empty_an_index, overwrite_root
from tests.support.coded import coded

URL = "sqlite:///log.db"
TARGET = Path("backup.db")
INTERRUPTED = Path(__file__).parent / "interrupted.py"


@pytest.fixture
def store():
    with open_store(URL) as store:
        for number in range(5):
            store.append(f"Account-{number}", texts(*["x" * 500] * 1000), expected_version=0)
        yield store


def test_a_backup_holds_what_the_store_held(store):
    reported = []

    report = back_up(store, TARGET, progress=reported.append)

    assert (report.events, report.head, report.origin) == (5_000, 5_000, store.store_id)
    assert report.bytes == TARGET.stat().st_size
    assert reported[-1].done == reported[-1].total
    assert len(reported) > 1
    assert sorted(path.name for path in Path().glob("backup*")) == ["backup.db"]
    with open_store("sqlite:///backup.db", create=False) as copy:
        assert records(copy) == records(store)
        assert verify(copy).verdict == "ok"


@pytest.mark.promise("backups-are-one-moment")
def test_a_restored_backup_is_told_from_its_original(store):
    store.save_checkpoint("relay", position=5_000, event_id=store.find_event(5_000).event_id)

    report = back_up(store, TARGET)

    with open_store("sqlite:///backup.db") as copy:
        found = verify(copy)
        assert copy.store_id == report.store_id != store.store_id
    assert [finding.code for finding in found.findings] == ["CHECKPOINT_OF_ANOTHER_STORE"]
    assert found.findings[0].hint.endswith("eskit relay --republish")


def test_two_backups_are_told_from_each_other(store):
    first = back_up(store, TARGET)
    second = back_up(store, Path("second.db"), progress=no_progress)

    assert first.store_id != second.store_id


@pytest.mark.promise("backups-are-one-moment")
def test_a_backup_is_one_moment_while_others_write(store):
    stop = threading.Event()

    def write():
        while not stop.is_set():
            store.append("Busy-1", texts("a", "b"), expected_version=ANY)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        report = back_up(store, TARGET)
    finally:
        stop.set()
        writer.join()

    assert report.head < store.head_position()
    with open_store("sqlite:///backup.db") as copy:
        assert verify(copy).verdict == "ok"
        assert copy.head_position() == report.head
        assert copy.stream_version("Busy-1") % 2 == 0
        assert records(copy) == records(store)[: report.events]


def test_nothing_is_overwritten(store):
    TARGET.write_text("mine")

    with pytest.raises(ProjectError, check=coded("TARGET_EXISTS")):
        back_up(store, TARGET)

    assert TARGET.read_text() == "mine"


@pytest.mark.promise("finished-files-are-complete")
def test_two_backups_at_once_under_one_name_are_refused(store):
    refused = []

    def back_up_as_well(_progress):
        with pytest.raises(
            ProjectError,
            check=coded("TARGET_EXISTS"),
            match=r"Another process is writing backup\.db",
        ):
            back_up(store, TARGET)
        refused.append(True)

    report = back_up(store, TARGET, progress=back_up_as_well)

    assert refused
    with open_store("sqlite:///backup.db", create=False) as copy:
        assert copy.store_id == report.store_id
        assert records(copy) == records(store)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.promise("finished-files-are-complete")
def test_a_backup_that_was_killed_is_no_backup_and_can_be_made_again(store, after):
    command = [sys.executable, INTERRUPTED, "backup", str(after), URL, TARGET]

    killed = subprocess.run(command, timeout=60, check=False)
    existed = TARGET.exists()
    report = back_up(store, TARGET)

    assert (killed.returncode, existed) == (-signal.SIGKILL, False)
    assert report.events == 5_000
    assert verify(store).verdict == "ok"


def test_a_damaged_store_gives_no_backup(store):
    store.close()
    connection = sqlite3.connect("log.db")
    page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    raw = bytearray(Path("log.db").read_bytes())
    raw[(page[0] - 1) * size : page[0] * size] = os.urandom(size)
    Path("log.db").write_bytes(raw)

    with open_store(URL) as damaged, pytest.raises(StoreError):
        back_up(damaged, TARGET)

    assert not TARGET.exists()


def lose_an_event(path):
    execute(path, "DELETE FROM events WHERE global_position = 3")


def change_an_event(path):
    execute(path, "UPDATE events SET data = x'0a0161' WHERE global_position = 3")


def put_a_text_for_a_time(path):
    execute(path, "UPDATE events SET recorded_at = 'x' WHERE global_position = 3")


def turn_time_back(path):
    execute(path, "UPDATE events SET recorded_at = 1 WHERE global_position = 3")


def put_what_is_no_text(path):
    execute(path, "UPDATE events SET claims = CAST(x'ff' AS TEXT) WHERE global_position = 3")


def drop_an_index(path):
    execute(path, "DROP INDEX events_by_kind")


def overwrite_events(path):
    overwrite_root(path, "events")


def overwrite_claims(path):
    overwrite_root(path, "claims")


def execute(path, statement):
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (empty_an_index, "missing from index events_by_kind"),
        (lose_an_event, "Version 4 of Account-0 follows version 2"),
        (change_an_event, "Version 3 of Account-0, at 3, is not what was recorded"),
        (put_a_text_for_a_time, "events.recorded_at of the event at 3"),
        (turn_time_back, "Version 3 of Account-0, at 3, is not what was recorded"),
        (put_what_is_no_text, "Version 3 of Account-0, at 3, is not what was recorded"),
        (drop_an_index, "The index events_by_kind is missing"),
        (overwrite_events, ""),  # how it says so depends on the release of SQLite
        (overwrite_claims, ""),
    ],
)
@pytest.mark.promise("damage-is-not-copied")
def test_a_store_that_is_damaged_is_named_and_gives_no_backup(store, damage, problem):
    store.close()
    damage(Path("log.db"))

    with open_store(URL) as damaged, pytest.raises(StoreDamaged) as refused:
        back_up(damaged, TARGET)

    assert str(refused.value).startswith("sqlite:///log.db is damaged, so no backup was made: ")
    assert problem in str(refused.value)
    assert "eskit store verify" in refused.value.hint
    assert list(Path().glob("backup.db*")) == []


def test_a_backup_that_finds_no_room_says_where_and_leaves_nothing(store, small_disk):
    with pytest.raises(StoreUnavailable, match=r"backup\.db\.partial cannot grow"):
        back_up(store, small_disk / "backup.db", progress=no_progress)

    assert list(small_disk.iterdir()) == []
    assert verify(store).verdict == "ok"


def test_a_folder_that_does_not_exist_is_named(store):
    with pytest.raises(StoreUnavailable, match="cannot be written: No such file"):
        back_up(store, Path("nowhere/backup.db"), progress=no_progress)


def test_a_restored_backup_is_used_like_any_store(store):
    back_up(store, TARGET)
    store.append("Account-0", texts("later"), expected_version=ANY)
    store.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"log.db{suffix}").unlink(missing_ok=True)
    shutil.copy(TARGET, "log.db")

    with open_store(URL) as restored:
        assert restored.append("Account-0", texts("on"), expected_version=1000).version == 1001
