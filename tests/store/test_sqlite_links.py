"""A store that is opened through a symbolic link: SQLite's files lie beside what it leads to."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from eskit.domain.streams import ANY
from eskit.errors import StoreUnavailable
from eskit.sqlite.watching import FileWatch
from eskit.store.open import open_store
from eskit.store.sqlite import commits
from eskit.testing.store_contract import texts
from tests.support.forked import forked

FILE = Path("real/log.db")
LINKS = {
    "of the file": ("log.db", "real/log.db", "sqlite:///log.db"),
    "of its folder": ("linked", "real", "sqlite:///linked/log.db"),
}


def append(store, *values):
    return store.append("Account-1", texts(*values), expected_version=ANY).version


@pytest.fixture(params=LINKS)
def url(request, tmp_path):
    """The URL of a store with two events, closed, through a link."""
    link, target, url = LINKS[request.param]
    (tmp_path / "real").mkdir()
    with open_store(f"sqlite:///{FILE}") as store:
        append(store, "a", "b")
    (tmp_path / link).symlink_to(tmp_path / target)
    return url


def test_the_write_ahead_log_is_moved_into_the_file(url, monkeypatch):
    monkeypatch.setattr(commits, "_WAL_LIMIT", 0)
    with open_store(f"{url}?synchronous=normal") as store:
        for _ in range(60):
            append(store, "c")

        file_alone = sqlite3.connect(f"file:{FILE}?immutable=1", uri=True)
        moved = file_alone.execute("SELECT count(*) FROM events").fetchone()[0]
        file_alone.close()

    assert moved > 2


def test_what_another_process_commits_is_seen_in_its_files(url):
    with open_store(url) as store, open_store(f"sqlite:///{FILE}") as other:
        append(other, "c")
        for name in (FILE, f"{FILE}-wal"):
            os.utime(name, (1, 1))  # what has just changed would count as changed anyway
        watch = FileWatch(store._storage._path, url)
        assert not watch.changed()

        append(other, "d")

        assert watch.changed()


def test_its_size_is_that_of_the_file_and_its_write_ahead_log(url):
    with open_store(url) as store:
        append(store, "c")

        wal = Path(f"{FILE}-wal").stat().st_size
        assert wal
        assert store.info().bytes == FILE.stat().st_size + wal


READ = """
import os, sys
from eskit import open_store
from eskit.errors import EskitError
import eskit.store.sqlite.storage
if os.getuid() == 0:  # root may write everything: become nobody
    os.setgid(65534); os.setuid(65534)
try:
    with open_store(sys.argv[1], create=False) as store:
        print(store.stream_version("Account-1"))
except EskitError as error:
    print(error.code)
"""


def test_a_write_ahead_log_that_cannot_be_read_is_not_read_past():
    # A folder of its own under the one for temporary files, where nobody may look too.
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        file, link = top / "real" / "log.db", top / "log.db"
        top.chmod(0o755)
        file.parent.mkdir()
        link.symlink_to(file)

        def append_and_die():
            append(open_store(f"sqlite:///{file}"), "a")

        forked(append_and_die)
        Path(f"{file}-shm").unlink()
        file.parent.chmod(0o555)
        run = subprocess.run(
            [sys.executable, "-c", READ, f"sqlite:///{link}"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        file.parent.chmod(0o755)

    assert run.stdout.split() == ["STORE_UNAVAILABLE"]


@pytest.mark.promise("replaced-files-are-refused")
def test_a_link_that_leads_elsewhere_makes_the_store_unavailable(url):
    link, target, _ = LINKS["of the file" if url.endswith("///log.db") else "of its folder"]
    copy = shutil.copytree if Path(target).is_dir() else shutil.copy
    copy(target, "copy")
    with open_store(url) as store:
        Path(link).unlink()
        Path(link).symlink_to("copy")

        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            append(store, "c")


def test_a_file_that_is_replaced_behind_its_link_is_noticed(url):
    shutil.copy(FILE, "copy.db")
    with open_store(url) as store:
        Path("copy.db").replace(FILE)

        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            append(store, "c")


def test_a_link_that_leads_nowhere_is_no_store_until_one_is_made_there(url):
    FILE.unlink()

    with pytest.raises(StoreUnavailable, match="There is no store"):
        open_store(url, create=False)
    with open_store(url) as store:
        append(store, "a")

    assert FILE.is_file()
    with open_store(url, create=False) as store:
        assert store.stream_version("Account-1") == 1


@pytest.mark.parametrize("target", ["no/such/log.db", "log.db"])
def test_a_link_to_where_no_file_can_be_is_unavailable(target):
    Path("log.db").symlink_to(target)

    with pytest.raises(StoreUnavailable):
        open_store("sqlite:///log.db")
