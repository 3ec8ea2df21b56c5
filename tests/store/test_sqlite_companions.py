"""The files that SQLite keeps beside a store: deleted while it is open, or left by another."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eskit.domain.streams import ANY
from eskit.errors import ProjectError, StoreUnavailable
from eskit.operations.exporting import export_log
from eskit.operations.files import back_up
from eskit.operations.importing import import_log
from eskit.store.open import open_store
from eskit.store.reports import no_progress
from eskit.testing.store_contract import texts
from tests.support.coded import coded
from tests.support.writing import LosesAnAnswer, connections_that_write

APPENDING = Path(__file__).parents[1] / "support" / "processes" / "appending.py"
URL = "sqlite:///log.db"
LOG, WAL, SHM = Path("log.db"), Path("log.db-wal"), Path("log.db-shm")


@pytest.fixture
def appending():
    """A process that appends to the store without pause, and is killed in the end."""
    with open_store(URL) as store:
        store.append("Account-1", texts("a"), expected_version=ANY)
    process = subprocess.Popen(
        [sys.executable, APPENDING, URL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    read_until(process, "stored")
    yield process
    process.kill()
    process.communicate()


def read_until(process, outcome):
    """The last version that the process has told of, and the line with the outcome."""
    for line in process.stdout:
        kind, *rest = line.rstrip("\n").split("\t")
        if kind == "stored":
            process.last = int(rest[0])
        if kind == outcome:
            return process.last, line
    raise AssertionError(f"the process ended without {outcome!r}")


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait(30)


def append(store, *values):
    return store.append("Account-1", texts(*values), expected_version=ANY)


@pytest.mark.parametrize("deleted", [WAL, SHM])
@pytest.mark.promise("missing-files-are-noticed")
def test_a_writer_whose_files_are_deleted_stops_and_has_lost_nothing(appending, deleted):
    deleted.unlink()

    last, refused = read_until(appending, "refused")
    kill(appending)

    assert f"{deleted.name} was deleted or replaced" in refused
    assert "what was in it is saved" in refused
    with open_store(URL) as store:
        assert store.stream_version("Account-1") == last
        assert append(store, "b").version == last + 1


@pytest.mark.parametrize("deleted", [WAL, SHM])
@pytest.mark.promise("missing-files-are-noticed")
def test_no_second_process_makes_anew_what_the_first_still_uses(deleted):
    with open_store(URL) as store:
        append(store, *"abc")
        store.head_position()
        deleted.unlink()

        second = subprocess.run(
            [sys.executable, APPENDING, URL], capture_output=True, text=True, check=False
        )
        again_there = deleted.exists()
        with pytest.raises(StoreUnavailable, match="was deleted or replaced"):
            append_for_a_while(store)

    assert "StoreUnavailable: Another process has sqlite:///log.db open" in second.stderr
    assert f"{deleted.name} was deleted" in second.stderr
    assert not again_there
    with open_store(URL) as store:
        assert store.count_events() >= 3
        assert store.count_events() == append(store, "d").version - 1


def append_for_a_while(store):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        append(store, "d")


@pytest.mark.parametrize("deleted", [WAL, SHM])
@pytest.mark.promise("missing-files-are-noticed")
def test_who_only_waits_for_events_notices_too(deleted):
    with open_store(URL) as store:
        append(store, *"abc")
        head = store.head_position()
        deleted.unlink()

        with pytest.raises(StoreUnavailable, match="what was in it is saved"):
            store.wait(head, 20)
        shutil.copy(LOG, "copy.db")

    with open_store("sqlite:///copy.db") as saved:
        assert saved.count_events() == 3


@pytest.mark.parametrize("deleted", [WAL, SHM])
def test_an_operation_on_the_whole_store_makes_nothing_anew(deleted):
    with open_store(URL) as store:
        append(store, "a")
        deleted.unlink()

        with pytest.raises(StoreUnavailable, match="was deleted or replaced"):
            back_up(store, Path("backup.db"), progress=no_progress)

        assert not deleted.exists()


def test_files_that_are_put_back_are_used_again():
    with open_store(URL) as store:
        append(store, "a")
        WAL.rename("away")
        with pytest.raises(StoreUnavailable):
            append_for_a_while(store)
        Path("away").rename(WAL)

        append(store, "b")
        found = store.count_events()

    with open_store(URL) as store:
        assert store.count_events() == found


def test_stores_that_come_and_go_beside_an_open_one_are_no_loss(monkeypatch):
    made = connections_that_write(monkeypatch, LosesAnAnswer)
    with open_store(URL) as store:
        append(store, "a")
        for _ in range(3):
            with open_store(URL) as other:
                append(other, "b")
        made[0].arm(committed=False)  # which has the store write with another connection

        append(store, "c")

        assert made[0] is not made[-1]
        assert store.count_events() == 5


@pytest.fixture
def killed(appending):
    """A store whose writer was killed, with a backup from before: its last version."""
    with open_store(URL) as store:
        back_up(store, Path("backup.db"), progress=no_progress)
    last, _ = read_until(appending, "stored")
    kill(appending)
    told = [line.split("\t") for line in appending.stdout if line.endswith("\n")]
    assert WAL.stat().st_size
    return max([last, *(int(version) for _, version in told)])


@pytest.mark.parametrize("put", [shutil.copy, os.replace])
@pytest.mark.promise("logs-do-not-mix")
def test_a_backup_put_in_place_does_not_get_the_last_events_of_what_was_there(killed, put):
    before = Path("backup.db").read_bytes()
    put("backup.db", LOG)

    for create in (True, False):
        with pytest.raises(StoreUnavailable, match="replaced another file") as refused:
            open_store(URL, create=create)

    assert LOG.read_bytes() == before
    subprocess.run(refused.value.hint.partition("without them: ")[2].split(), check=True)
    with open_store(URL) as store:
        assert append(store, "b").version <= killed  # with those events it would be one more


def test_a_copy_of_the_file_itself_does_not_get_them_either(killed, tmp_path):
    shutil.copy(LOG, "copy.db")
    Path("copy.db").replace(LOG)

    with pytest.raises(StoreUnavailable, match="replaced another file"):
        open_store(URL)


@pytest.mark.promise("logs-do-not-mix")
def test_a_file_replaced_under_a_writer_that_dies_is_told_from_its_own(appending):
    with open_store(URL) as store:
        back_up(store, Path("backup.db"), progress=no_progress)
    Path("backup.db").replace(LOG)
    read_until(appending, "refused")

    with pytest.raises(StoreUnavailable, match="replaced another file"):
        open_store(URL)
    kill(appending)
    with pytest.raises(StoreUnavailable, match="replaced another file"):
        open_store(URL)


def test_a_store_whose_writer_was_killed_is_opened_as_ever(killed):
    with open_store(URL) as store:
        assert killed <= store.stream_version("Account-1") <= killed + 1  # one it could not tell of


@pytest.mark.parametrize("with_note", [True, False])
@pytest.mark.promise("logs-do-not-mix")
def test_files_that_were_copied_together_belong_together(killed, tmp_path, with_note):
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("log.db", "log.db-wal", *(["log.db.writing"] if with_note else [])):
        shutil.copy(name, copied)

    with open_store(f"sqlite:///{copied}/log.db") as store:
        assert killed <= store.stream_version("Account-1") <= killed + 1  # one it could not tell of


def test_no_new_store_is_made_beside_the_last_events_of_one_that_is_gone(killed):
    LOG.rename("away")
    size = WAL.stat().st_size

    with pytest.raises(StoreUnavailable, match=r"There is no file at .*but log\.db-wal is there"):
        open_store(URL)

    assert (LOG.exists(), WAL.stat().st_size) == (False, size)


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
@pytest.mark.promise("logs-do-not-mix")
def test_nothing_is_put_beside_what_another_database_has_left(suffix):
    left = Path(f"copy.db{suffix}")
    left.write_bytes(b"left by a crash")
    with open_store(URL) as store:
        append(store, "a")
        export_log(store, Path("log.jsonl"))

        with pytest.raises(
            ProjectError, check=coded("TARGET_EXISTS"), match=f"copy.db{suffix} remains from"
        ) as refused:
            back_up(store, Path("copy.db"), progress=no_progress)
        with pytest.raises(
            ProjectError, check=coded("TARGET_EXISTS"), match=f"copy.db{suffix} remains from"
        ):
            import_log(Path("log.jsonl"), "sqlite:///copy.db")

        assert list(Path().glob("copy.db*")) == [left]
        subprocess.run(refused.value.hint.partition(": ")[2].split(), check=True)
        back_up(store, Path("copy.db"), progress=no_progress)


def test_an_older_file_without_a_note_is_opened_with_its_last_events(killed):
    Path("log.db.writing").unlink()

    with open_store(URL) as store:
        assert killed <= store.stream_version("Account-1") <= killed + 1  # one it could not tell of
    assert list(Path().glob("log.db*")) == [LOG]
