"""A backup in the place of its store: whole, told from it, and with nothing of it left over."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from eskit.domain.streams import ANY
from eskit.errors import EskitError, InvalidArgument, StoreUnavailable
from eskit.files import atomic
from eskit.operations.files import back_up, restore
from eskit.operations.verifying import verify
from eskit.store.open import open_store
from eskit.store.reports import no_progress
from eskit.testing.store_contract import texts
from tests.support.coded import coded

URL = "sqlite:///log.db"
LOG, BACKUP = Path("log.db"), Path("backup.db")
APPENDING = Path(__file__).parents[2] / "support" / "processes" / "appending.py"


def append(store, *values):
    return store.append("Account-1", texts(*values), expected_version=ANY)


def values(url):
    with open_store(url, create=False) as store:
        return [event.message.value for event in store.read_all()]


def names():
    return sorted(str(path) for path in Path().iterdir())


@pytest.fixture
def original():
    """The id of a store with three events; its backup has two."""
    with open_store(URL) as store:
        append(store, "a", "b")
        back_up(store, BACKUP, progress=no_progress)
        append(store, "c")
        return store.store_id


@pytest.mark.promise("restores-keep-the-original")
def test_a_backup_takes_the_place_of_its_store_which_is_kept(original):
    report = restore(BACKUP, URL)

    assert (report.events, report.head) == (2, 2)
    assert report.replaced.path.name == "log.db.replaced"
    assert (report.replaced.events, report.replaced.head) == (3, 3)
    assert values(URL) == ["a", "b"]
    assert values("sqlite:///log.db.replaced") == ["a", "b", "c"]
    assert names() == ["backup.db", "log.db", "log.db.replaced"]


def test_a_restored_store_is_told_from_its_original_and_from_its_backup(original):
    first, second = restore(BACKUP, URL), restore(BACKUP, URL)

    with open_store(URL) as store, open_store("sqlite:///backup.db") as backup:
        ids = [original, backup.store_id, first.store_id, store.store_id]
        assert len(set(ids)) == 4
        assert store.store_id == second.store_id
        assert verify(store).verdict == "ok"
    assert second.replaced.path.name == "log.db.replaced-2"


def test_a_dry_run_changes_nothing(original):
    before = LOG.read_bytes()

    report = restore(BACKUP, URL, dry_run=True)

    assert (report.events, report.replaced.events) == (2, 3)
    assert LOG.read_bytes() == before
    assert names() == ["backup.db", "log.db"]


@pytest.fixture
def appending(original):
    process = subprocess.Popen([sys.executable, APPENDING, URL], stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


@pytest.mark.promise("restores-keep-the-original")
def test_a_store_that_is_in_use_is_not_replaced(appending):
    for dry_run in (True, False):
        with pytest.raises(StoreUnavailable, match="is open in another process") as refused:
            restore(BACKUP, URL, dry_run=dry_run)

    assert "eskit serve" in refused.value.hint
    assert not Path("log.db.replaced").exists()


def test_a_store_that_this_process_has_open_is_not_replaced(original):
    with open_store(URL) as store:
        append(store, "d")
        with pytest.raises(StoreUnavailable, match="is open"):
            restore(BACKUP, URL)

        assert append(store, "e").version == 5


@pytest.mark.promise("restores-keep-the-original")
def test_after_a_kill_nothing_of_the_old_log_gets_into_the_restored_one(appending):
    appending.send_signal(signal.SIGKILL)
    appending.wait(30)
    assert Path("log.db-wal").stat().st_size

    report = restore(BACKUP, URL)

    assert values(URL) == ["a", "b"]
    assert report.replaced.events >= 4
    assert len(values("sqlite:///log.db.replaced")) == report.replaced.events
    assert names() == ["backup.db", "log.db", "log.db.replaced"]


def test_what_a_wrong_restoration_left_beside_is_cleared(appending):
    """The backup was moved there by hand, where the killed store's ``-wal`` still is."""
    appending.send_signal(signal.SIGKILL)
    appending.wait(30)
    BACKUP.replace(LOG)
    with pytest.raises(StoreUnavailable):
        open_store(URL)
    Path("kept.db").write_bytes(LOG.read_bytes())

    report = restore(Path("kept.db"), URL)

    assert report.replaced.events is None
    assert values(URL) == ["a", "b"]
    assert Path("log.db.replaced-wal").stat().st_size


def test_a_damaged_store_is_replaced_and_kept_as_it_is(original):
    damaged = LOG.read_bytes()[:3000]
    LOG.write_bytes(damaged)
    Path("log.db-journal").write_bytes(b"left by something else")

    report = restore(BACKUP, URL)

    assert (report.replaced.events, report.replaced.head) == (None, None)
    assert Path("log.db.replaced").read_bytes() == damaged
    assert Path("log.db.replaced-journal").exists()
    assert values(URL) == ["a", "b"]


def test_a_store_that_is_gone_is_restored(original):
    LOG.unlink()

    report = restore(BACKUP, URL)

    assert report.replaced is None
    assert values(URL) == ["a", "b"]


def test_a_backup_that_is_not_there_is_said_to_be_missing(original):
    with pytest.raises(StoreUnavailable, match=r"There is no backup at nope\.db") as raised:
        restore(Path("nope.db"), URL)

    assert raised.value.hint == "Name a file that store backup has made."


@pytest.mark.promise("restores-keep-the-original")
def test_the_name_is_never_without_a_store(original, monkeypatch):
    """Whoever starts in the middle would make an empty one."""

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(atomic.Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            restore(BACKUP, URL)

    assert values(URL) == ["a", "b", "c"]
    restore(BACKUP, URL)
    assert values(URL) == ["a", "b"]


def test_a_restored_store_has_the_mode_of_the_one_it_replaces(original):
    LOG.chmod(0o640)

    restore(BACKUP, URL)

    assert LOG.stat().st_mode & 0o777 == 0o640


def test_a_link_goes_on_leading_to_the_store(original):
    Path("elsewhere").mkdir()
    LOG.rename("elsewhere/log.db")
    LOG.symlink_to("elsewhere/log.db")

    restore(BACKUP, URL)

    assert LOG.is_symlink()
    assert values(URL) == ["a", "b"]


def test_what_is_no_backup_is_refused_and_the_store_stays(original):
    before = LOG.read_bytes()
    Path("text").write_text("no database " * 100)
    Path("damaged.db").write_bytes(BACKUP.read_bytes())
    connection = sqlite3.connect("damaged.db")
    with connection:
        connection.execute("UPDATE events SET data = x'00'")
    connection.close()
    Path("old.db").write_bytes(BACKUP.read_bytes())
    connection = sqlite3.connect("old.db")
    connection.execute("PRAGMA user_version = 1")
    connection.close()

    for file, code in [
        ("text", "STORE_NOT_RECOGNISED"),
        ("damaged.db", "STORE_DAMAGED"),
        ("nothing.db", "STORE_UNAVAILABLE"),
        ("old.db", "SCHEMA_OUTDATED"),
        ("log.db", "INVALID_ARGUMENT"),
    ]:
        with pytest.raises(EskitError, check=coded(code)) as refused:
            restore(Path(file), URL)
        assert refused.value.hint
    with pytest.raises(InvalidArgument):
        restore(BACKUP, "memory://")

    assert LOG.read_bytes() == before
    assert not Path("log.db.replaced").exists()
