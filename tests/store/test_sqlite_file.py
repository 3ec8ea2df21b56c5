"""The file of a SQLite store: what is refused, what is read, what survives."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from eskit.domain.commands import Command
from eskit.domain.streams import ANY
from eskit.errors import (
    StoreDamaged,
    StoreError,
    StoreUnavailable,
)
from eskit.operations.erasing import erase
from eskit.operations.files import migrate
from eskit.operations.pruning import prune_commands
from eskit.sqlite.connections import connect
from eskit.store.open import open_store
from eskit.store.records import CommandRow
from eskit.store.sqlite import commits, schema
from eskit.testing.store_contract import SettableClock, text, texts
from tests.support.coded import coded
from tests.support.stores import sqlite_store
from tests.support.writing import connections_that_write

URL = "sqlite:///log.db"


@pytest.fixture
def stored(tmp_path):
    """A store with two events, closed."""
    with open_store(URL) as store:
        store.append("Account-1", texts("a", "b"), expected_version=ANY)
    return tmp_path / "log.db"


def set_pragma(path, name, value):
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA {name} = {value}")
    connection.close()


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_not_sqlite_is_refused_and_untouched(tmp_path, create):
    path = tmp_path / "log.db"
    path.write_text("not a database " * 100)
    before = path.read_bytes()

    with pytest.raises(
        StoreDamaged, check=coded("STORE_NOT_RECOGNISED"), match="not a SQLite database"
    ):
        open_store(URL, create=create)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.promise("foreign-files-are-untouched")
def test_the_database_of_something_else_is_refused_and_untouched(tmp_path, create):
    path = tmp_path / "log.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(
        StoreDamaged, check=coded("STORE_NOT_RECOGNISED"), match="not an eskit store"
    ):
        open_store(URL, create=create)

    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store_only_when_creating(tmp_path):
    (tmp_path / "log.db").touch()

    with pytest.raises(StoreDamaged, check=coded("STORE_NOT_RECOGNISED"), match="empty"):
        open_store(URL, create=False)
    with open_store(URL) as store:
        store.append("Account-1", texts("a"), expected_version=ANY)


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "log.db").mkdir()

    with pytest.raises(StoreDamaged, check=coded("STORE_NOT_RECOGNISED")):
        open_store(URL)


@pytest.mark.promise("foreign-files-are-untouched")
def test_a_store_of_a_newer_eskit_is_refused(stored):
    set_pragma(stored, "user_version", schema.current_version() + 1)

    with pytest.raises(StoreError, check=coded("SCHEMA_TOO_NEW"), match="schema version"):
        open_store(URL)


def test_a_store_of_an_older_eskit_is_refused_until_it_is_migrated(stored):
    set_pragma(stored, "user_version", schema.current_version() - 1)

    with pytest.raises(StoreError, check=coded("SCHEMA_OUTDATED")) as outdated:
        open_store(URL)

    assert "eskit store migrate" in outdated.value.hint


def test_a_truncated_store_is_refused(stored):
    stored.write_bytes(stored.read_bytes()[:5000])

    with pytest.raises(StoreDamaged), open_store(URL) as store:
        list(store.read_all())


def test_another_process_that_holds_the_lock_is_waited_for_and_then_named(stored):
    other = sqlite3.connect(stored, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with open_store(f"{URL}?busy_timeout=0.05") as store:
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            store.append("Account-1", texts("c"), expected_version=ANY)
        assert store.head_position() == 2
        other.execute("ROLLBACK")
        assert store.append("Account-1", texts("c"), expected_version=ANY).version == 3
    other.close()


def test_the_first_append_waits_for_who_keeps_the_whole_file_to_itself(stored):
    with open_store(URL) as store:
        other = sqlite3.connect(stored, isolation_level=None, check_same_thread=False)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.close)
        release.start()

        result = store.append("Account-1", texts("c"), expected_version=ANY)

        release.join()
    assert result.version == 3


def test_a_full_disk_is_named_and_leaves_the_log_intact(stored, monkeypatch):
    writing = connections_that_write(monkeypatch)
    with open_store(URL) as store:
        store.append("Account-1", texts("c"), expected_version=ANY)
        connection = writing[-1]
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

        with pytest.raises(StoreUnavailable, match="disk is full"):
            store.append("Account-1", [text("x" * 1_000_000)], expected_version=ANY)

        connection.execute("PRAGMA max_page_count = 1000000")
        assert store.append("Account-1", texts("d"), expected_version=3).version == 4
        assert store.count_events() == 4


READ_ONLY = """
import os, sys
from google.protobuf.wrappers_pb2 import StringValue
from eskit import ANY, NewEvent, open_store
from eskit.errors import StoreUnavailable
import eskit.store.sqlite.storage
if os.getuid() == 0:  # root may write everything: become nobody
    os.setgid(65534); os.setuid(65534)
url, create = sys.argv[1:]
with open_store(url, create=create == "create") as store:
    print(len(list(store.read_all())), store.stream_version("Account-1"))
    try:
        store.append("Account-1", [NewEvent(StringValue(value="c"))], expected_version=ANY)
    except StoreUnavailable as error:
        print(error)
"""


@pytest.mark.parametrize("create", ["create", "existing"])
@pytest.mark.parametrize("folder_mode", [0o777, 0o555])
def test_a_read_only_file_is_read_and_refuses_appends(stored, folder_mode, create):
    # A folder of its own under the one for temporary files, where nobody may look too.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(shutil.copy(stored, folder))
        path.chmod(0o444)
        path.parent.chmod(folder_mode)

        run = subprocess.run(
            [sys.executable, "-c", READ_ONLY, f"sqlite:///{path}", create],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        path.parent.chmod(0o700)

    assert run.stderr == ""
    assert run.stdout.splitlines()[0] == "2 2"
    assert "is read-only" in run.stdout.splitlines()[1]


def test_a_store_that_was_forked_refuses_and_leaves_the_parent_alone(stored):
    with open_store(URL) as store:
        store.append("Account-1", texts("c"), expected_version=ANY)
        child = os.fork()
        if child == 0:
            try:
                store.append("Account-1", texts("d"), expected_version=ANY)
            except StoreUnavailable:
                store.close()
                os._exit(0)
            os._exit(1)

        _, status = os.waitpid(child, 0)

        assert os.waitstatus_to_exitcode(status) == 0
        assert store.append("Account-1", texts("e"), expected_version=3).version == 4


def test_a_copy_of_the_file_is_a_store_of_the_same_id(stored, tmp_path):
    with open_store(URL) as store:
        original = store.store_id
    shutil.copy(stored, tmp_path / "copy.db")

    with open_store("sqlite:///copy.db") as copy:
        assert copy.store_id == original


def test_two_stores_have_different_ids():
    with open_store("sqlite:///one.db") as one, open_store("sqlite:///two.db") as two:
        assert one.store_id != two.store_id


@pytest.mark.parametrize(
    ("options", "level"), [("", 2), ("?synchronous=full", 2), ("?synchronous=normal", 1)]
)
@pytest.mark.promise("appends-are-durable")
def test_appends_are_flushed_to_the_disk_unless_told_otherwise(monkeypatch, options, level):
    writing = []

    def connect_and_note(path, *, mode):
        writing.append(connect(path, mode=mode))
        return writing[-1]

    monkeypatch.setattr(commits, "connect", connect_and_note)
    with open_store(f"{URL}{options}") as store:
        store.append("Account-1", texts("a"), expected_version=0)

        assert [c.execute("PRAGMA synchronous").fetchone()[0] for c in writing] == [level]


def test_the_write_ahead_log_is_moved_while_nobody_else_can_write(monkeypatch):
    locked = []

    def connect_and_look(path, *, mode):
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            locked.append(True)
        else:
            locked.append(False)
        other.close()
        return connect(path, mode=mode)

    with open_store(f"{URL}?synchronous=normal") as store:
        store.append("Account-1", texts("a"), expected_version=0)
        monkeypatch.setattr(commits, "connect", connect_and_look)
        monkeypatch.setattr(commits, "_WAL_LIMIT", 0)
        for number in range(1, 120):
            store.append("Account-1", texts("b"), expected_version=number)

    assert locked == [True, True]


def test_commands_are_pruned_in_short_transactions(stored, monkeypatch):
    monkeypatch.setattr("eskit.operations.pruning._AT_ONCE", 3)
    clock = SettableClock()
    with sqlite_store(stored, URL, clock=clock) as store:
        for number in range(20):
            command = Command(id=f"c{number}", fingerprint="Open")
            tenant = ("", "acme")[number % 2]
            store.for_tenant(tenant).append("Account-9", [], expected_version=ANY, command=command)
            clock.move(days=1)

        pruned = prune_commands(store)

        with store.view() as view:
            left = {command.id for command in view.rows(CommandRow)}
    assert pruned.commands == 13
    assert left == {f"c{number}" for number in range(13, 20)}


TEXT = "google.protobuf.StringValue"
READS = {
    "log": (lambda store: store.read_all(), "INTEGER PRIMARY KEY"),
    "log backward": (lambda store: store.read_all(backward=True), "INTEGER PRIMARY KEY"),
    "categories": (lambda store: store.read_all(categories=["Account", "Order"]), "events_by_kind"),
    "types": (lambda store: store.read_all(event_types=[TEXT]), "events_by_kind"),
    "types backward": (
        lambda store: store.read_all(event_types=[TEXT], backward=True),
        "events_by_kind",
    ),
    "rows": (lambda store: store.read_log_rows(event_types=[TEXT]), "events_by_kind"),
    "stream": (lambda store: store.read_stream("Account-1"), "events_by_stream"),
    "stream backward": (
        lambda store: store.read_stream("Account-1", backward=True),
        "events_by_stream",
    ),
    "fold": (lambda store: store.read_rows("Account-1"), "events_by_stream"),
}


@pytest.mark.parametrize("name", [name for name in READS if "backward" not in name])
@pytest.mark.promise("readers-block-no-writer")
def test_no_transaction_stays_open_between_pages(stored, name):
    read, _ = READS[name]
    with open_store(URL) as store:
        for _ in range(3):
            store.append("Account-1", texts(*"abcdefgh" * 20), expected_version=ANY)
        reading = read(store)
        read_before = [next(reading)]

        connection = sqlite3.connect(stored, isolation_level=None)
        store.append("Account-1", texts("late"), expected_version=ANY)
        busy, pages, moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.close()

        assert (busy, pages, moved) == (0, 0, 0)
        assert len([*read_before, *reading]) == store.count_events()


@pytest.mark.parametrize("name", READS)
def test_reads_of_many_kinds_give_what_reads_of_few_give(stored, name, monkeypatch):
    read, _ = READS[name]
    with open_store(URL) as store:
        for number in range(3):
            store.append(f"Order-{number}", texts(*"xyz"), expected_version=ANY)
            store.append("Other-1", texts("no"), expected_version=ANY)
        erase(store, ["Order-1"], reason="asked", erased_by="dpo")
        few = list(read(store))
        monkeypatch.setattr("eskit.store.sqlite.read._MOST_MERGED", 0)

        assert few == list(read(store))
        assert few


@pytest.mark.parametrize("name", READS)
@pytest.mark.promise("readers-block-no-writer")
def test_reads_use_an_index_and_never_sort(stored, name):
    read, index = READS[name]
    statements = []
    with open_store(URL) as store:
        with store._storage._readers.borrow() as connection:
            connection.set_trace_callback(statements.append)
        list(read(store))

    connection = sqlite3.connect(stored)
    plans = [
        row[3]
        for statement in statements
        if "FROM events" in statement
        for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")
    ]
    connection.close()
    of_events = [plan for plan in plans if plan.split()[1] == "e"]
    assert of_events
    assert not [plan for plan in of_events if not plan.startswith("SEARCH") or index not in plan]
    assert not [plan for plan in plans if "B-TREE" in plan]


def append_for_a_while(store):
    """The name of the file is looked at now and then, not at every append."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        store.append("Account-1", texts("d"), expected_version=ANY)


@pytest.mark.parametrize("exchange", [Path.unlink, lambda path: shutil.copy(path, "new.db")])
@pytest.mark.promise("replaced-files-are-refused")
def test_a_file_that_was_deleted_or_replaced_soon_takes_no_more_events(stored, exchange):
    with open_store(URL) as store:
        store.append("Account-1", texts("c"), expected_version=2)
        if (copy := exchange(stored)) is not None:
            Path(copy).replace(stored)

        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            append_for_a_while(store)
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            store.append("Account-1", texts("e"), expected_version=ANY)


@pytest.mark.parametrize("exchange", [Path.unlink, lambda path: shutil.copy(path, "new.db")])
@pytest.mark.promise("replaced-files-are-refused")
def test_a_file_that_was_deleted_or_replaced_is_soon_read_no_more(stored, exchange):
    with open_store(URL) as store:
        head = store.head_position()
        if (copy := exchange(stored)) is not None:
            Path(copy).replace(stored)

        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            follow_for_a_while(store, head)
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            list(store.read_all())


def follow_for_a_while(store, head):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        store.wait(head, 0.01)


def test_a_file_that_was_put_back_is_written_to_again(stored):
    with open_store(URL) as store:
        stored.rename("away.db")
        with pytest.raises(StoreUnavailable, match="deleted or replaced"):
            store.append("Account-1", texts("c"), expected_version=ANY)
        Path("away.db").rename(stored)

        result = store.append("Account-1", texts("c"), expected_version=2)

    assert result.version == 3


def leave(folder):
    folder.rename("away")


def become_a_file(folder):
    leave(folder)
    folder.touch()


def lead_nowhere(folder):
    """The system then gives an error of its own, as it does for a disk that is away."""
    leave(folder)
    folder.symlink_to(folder)


USES = {
    "append": lambda store: store.append("Account-1", texts("c"), expected_version=ANY),
    "read": lambda store: list(store.read_all()),
    "wait": lambda store: store.wait(2, 0),
    "info": lambda store: store.info(),
    "migrate": lambda store: migrate(store.url),
    "open": lambda store: open_store(store.url, create=False),
}


@pytest.fixture
def in_folder(stored, tmp_path):
    """An open store in a folder of its own."""
    folder = tmp_path / "folder"
    folder.mkdir()
    stored.rename(folder / "log.db")
    with open_store("sqlite:///folder/log.db") as store:
        yield store, folder


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("change", [leave, become_a_file, lead_nowhere])
@pytest.mark.promise("replaced-files-are-refused")
def test_a_folder_that_goes_away_makes_its_store_unavailable(in_folder, use, change):
    store, folder = in_folder
    change(folder)

    with pytest.raises(StoreUnavailable) as unavailable:
        USES[use](store)

    assert unavailable.value.hint


@pytest.mark.parametrize("use", USES)
@pytest.mark.promise("replaced-files-are-refused")
def test_a_folder_that_may_no_longer_be_entered_makes_its_store_unavailable(in_folder, use):
    store, folder = in_folder
    user = os.geteuid()
    folder.chmod(0)
    if user == 0:  # root may enter everything: become nobody
        os.seteuid(65534)

    try:
        with pytest.raises(StoreUnavailable, match="may not be read"):
            USES[use](store)
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


def test_an_error_of_the_disk_is_told_with_its_reason(in_folder):
    store, folder = in_folder
    lead_nowhere(folder)

    with pytest.raises(StoreUnavailable, match="cannot be reached: Too many levels of symbolic"):
        store.append("Account-1", texts("c"), expected_version=ANY)


def test_what_a_store_takes_is_what_lasts_of_it(stored):
    with open_store(URL) as store:
        store.append("Account-1", texts("c"), expected_version=ANY)

        told = store.info().bytes

        assert told == stored.stat().st_size + Path("log.db-wal").stat().st_size
