"""Files that eskit makes are their owner's alone, unless somebody says otherwise."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from eskit.domain.streams import ANY
from eskit.errors import InvalidArgument, StoreUnavailable
from eskit.files.modes import parse_mode
from eskit.operations.exporting import export_log
from eskit.operations.files import back_up
from eskit.operations.importing import import_log
from eskit.projections.locks import lock_of
from eskit.projections.opening import open_read_models
from eskit.store.open import open_store
from eskit.store.reports import no_progress
from eskit.testing.store_contract import texts

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture(params=[0o000, 0o022, 0o077], ids="umask {:03o}".format)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes():
    """The modes of all files and folders here, by name."""
    return {
        str(path): f"{stat.S_IMODE(path.stat().st_mode):04o}" for path in Path().rglob("*") if path
    }


def make_everything(options=""):
    """Have every kind of file made that holds events, rows or locks; their modes meanwhile."""
    found = {}
    with open_store(f"sqlite:///log.db{options}") as store:
        store.append("Account-1", texts("a"), expected_version=ANY)
        back_up(store, Path("backup.db"), progress=lambda _: found.update(modes()))
        export_log(store, Path("log.jsonl"), file_mode=parse_mode(options[-4:] or "0600"))
        lock = store.lock("relay")
        lock.acquire()
        models = open_read_models(f"sqlite:///read.db{options}")
        with lock_of(models, "counts", "run"), closing(models.open()):
            found |= modes()
        models.close()
    import_log(Path("log.jsonl"), f"sqlite:///copy.db{options}")
    lock.release()
    return found | modes()


NAMES = {
    *("log.db", "log.db-wal", "log.db-shm", "log.db.writing", "log.db.relay", "log.jsonl"),
    *("read.db", "read.db-wal", "read.db-shm", "read.db-locks/counts.run"),
    *("backup.db", "backup.db.partial", "backup.db.partial-lock", "copy.db"),
}


@pytest.mark.promise("files-are-private")
def test_files_are_their_owners_alone_whatever_the_umask(umask):
    found = make_everything()

    assert set(found) >= NAMES
    assert found.pop("read.db-locks") == "0700"
    found.pop("backup.db.partial-lock")
    assert set(found.values()) == {"0600"}


def test_a_file_mode_lets_a_second_user_read_whatever_the_umask(umask):
    found = make_everything("?file_mode=0640")

    assert found.pop("read.db-locks") == "0750"
    assert found.pop("backup.db.partial-lock") == "0600"  # nobody else makes that file
    assert {name for name in found if found[name] == "0640"} >= NAMES - {"backup.db.partial-lock"}
    assert set(found.values()) == {"0640"}


def test_files_that_are_there_keep_their_mode_and_what_is_made_beside_gets_it():
    make_everything()
    for path in (Path("log.db"), Path("read.db")):
        path.chmod(0o644)
    shutil.rmtree("read.db-locks")
    Path("log.db.relay").unlink()
    for path in (Path("backup.db"), Path("copy.db"), Path("log.jsonl")):
        path.unlink()

    found = make_everything()

    private = {name for name, mode in found.items() if mode == "0600"}
    assert private == {
        *("backup.db", "backup.db.partial", "backup.db.partial-lock", "copy.db", "log.jsonl")
    }
    assert found["read.db-locks"] == "0755"


@pytest.mark.parametrize("text", ["", "640x", "0888", "0440", "0777", "-0640", "0o640", "0x1b0"])
def test_what_is_no_mode_is_refused(text):
    with pytest.raises(InvalidArgument, match="is not the mode of a file") as refused:
        open_store(f"sqlite:///log.db?file_mode={text or 'none'}")

    assert '"0640"' in refused.value.hint
    assert not Path("log.db").exists()


AS_ANOTHER = """
import os, sys
from eskit import open_store
from eskit.errors import EskitError
from eskit.projections.bookkeeping import list_states
from eskit.projections.locks import lock_of
from eskit.projections.opening import open_read_models
import eskit.store.sqlite.storage, eskit.projections.sqlite.read_models
os.chdir(sys.argv[1])
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(65534)

def tell(work):
    try:
        print(work())
    except (EskitError, OSError) as error:
        print(type(error).__name__, error)

def count():
    with open_store("sqlite:///log.db", create=False) as store:
        return store.count_events()

tell(count)
for name in sorted(os.listdir()):
    tell(lambda: len(open(name, "rb").read()) > 0)
models = open_read_models("sqlite:///read.db")
tell(lambda: list_states(models))
tell(lock_of(models, "counts", "run").find_holder)
tell(lock_of(models, "counts", "run").acquire)
"""


def as_another(folder, *, group=65534):
    """What another user of the machine gets to see of a folder with a store."""
    ran = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER, folder, str(group)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.stderr == ""
    return ran.stdout.splitlines()


@pytest.fixture
def shared(monkeypatch):
    """A folder that everybody may enter and look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.chdir(folder)
        yield folder
        monkeypatch.undo()


@needs_root
@pytest.mark.promise("files-are-private")
def test_another_user_reads_nothing_and_holds_no_lock(shared):
    with open_store("sqlite:///log.db") as store:
        store.append("Account-1", texts("a"), expected_version=ANY)
        models = open_read_models("sqlite:///read.db")
        with closing(models.open()), lock_of(models, "counts", "run"):
            count, *files, standings, holder, lock = as_another(shared)
        models.close()

    assert "StoreUnavailable sqlite:///log.db may not be read" in count
    assert len(files) >= 8
    assert all("Permission" in line for line in files)
    assert standings.startswith("ReadModelUnavailable")
    assert "Permission" in holder or "may not be read" in holder
    assert lock.startswith("ReadModelUnavailable")


@needs_root
@pytest.mark.promise("files-are-private")
def test_a_user_of_the_group_reads_with_a_file_mode_and_writes_nothing(shared):
    with open_store("sqlite:///log.db?file_mode=0640") as store:
        store.append("Account-1", texts("a"), expected_version=ANY)
        models = open_read_models("sqlite:///read.db?file_mode=0640")
        with closing(models.open()), lock_of(models, "counts", "run"):
            count, *_, standings, holder, lock = as_another(shared, group=os.getgid())
        models.close()

    assert count == "1"
    assert standings == "[]"
    assert f"pid={os.getpid()}" in holder
    assert lock.startswith("ProjectionBusy")


def test_a_path_that_no_file_can_have_is_refused():
    with pytest.raises(InvalidArgument, match="does not name a SQLite file"):
        open_store("sqlite:///%00")


def test_a_disk_that_makes_no_file_is_told_of(tmp_path):
    with pytest.raises(StoreUnavailable):
        open_store("sqlite:///no/such/folder/log.db")
    with open_store("sqlite:///log.db") as store, pytest.raises(StoreUnavailable):
        back_up(store, Path("no/such/folder/backup.db"), progress=no_progress)
