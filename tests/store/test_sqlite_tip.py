"""What a store remembers of the log's end between appends, when it is not the only one to write."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from eskit.domain.streams import ANY, NO_STREAM
from eskit.errors import VersionConflict
from eskit.operations.exporting import export_log
from eskit.operations.verifying import verify
from eskit.store.open import open_store
from eskit.store.sqlite import append_cache, kept
from eskit.store.sqlite.schema import current_version
from eskit.testing.store_contract import number, text, texts, values
from tests.support.stores import sqlite_store
from tests.support.writing import connections_that_write

URL = "sqlite:///log.db"
_PROGRAM = """
import sys
from pathlib import Path
from eskit import ANY, open_store
from eskit.operations.erasing import erase
from eskit.operations.importing import import_log
from eskit.testing.store_contract import number, text, texts
"""


def elsewhere(statement, url=URL):
    """Another process opens the store, runs the statement and ends."""
    program = f"{_PROGRAM}\nwith open_store({url!r}) as store:\n    {statement}\n"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.fixture
def writing(monkeypatch):
    """The connections that write."""
    return connections_that_write(monkeypatch)


@pytest.fixture
def store():
    with open_store(URL) as store:
        yield store


def test_an_append_of_another_process_to_the_same_stream_is_a_conflict(store):
    store.append("Account-1", texts("a"), expected_version=NO_STREAM)
    elsewhere('store.append("Account-1", texts("b", "c"), expected_version=1)')

    with pytest.raises(VersionConflict) as conflict:
        store.append("Account-1", texts("d"), expected_version=1)
    result = store.append("Account-1", texts("d"), expected_version=3)

    assert conflict.value.actual == 3
    assert (result.version, result.global_position) == (4, 4)
    assert values(store.read_stream("Account-1")) == ["a", "b", "c", "d"]
    assert verify(store).verdict == "ok"


def test_an_append_of_another_process_to_another_stream_moves_the_log_on(store):
    store.append("Account-1", texts("a"), expected_version=ANY)
    elsewhere('store.append("Account-2", texts("b"), expected_version=0)')

    result = store.append("Account-1", texts("c"), expected_version=1)

    assert (result.version, result.global_position) == (2, 3)
    times = [event.recorded_at for event in store.read_all()]
    assert times == sorted(times)


def test_a_kind_and_a_stream_that_another_process_was_first_to_write_are_not_made_twice(store):
    store.append("Account-1", texts("a"), expected_version=ANY)
    elsewhere('store.append("Account-2", [number(1)], expected_version=0)')

    store.append("Account-2", [number(2), text("b")], expected_version=1)

    numbers = store.read_all(event_types=["google.protobuf.Int64Value"])
    assert values(numbers) == [1, 2]
    assert verify(store).verdict == "ok"


def test_an_append_after_another_process_has_erased_the_stream_goes_on_from_its_end(store):
    store.append("Account-1", texts("a", "b"), expected_version=0)
    elsewhere('erase(store, ["Account-1"], reason="a test", erased_by="tests")')

    result = store.append("Account-1", texts("c"), expected_version=2)

    assert (result.version, result.global_position) == (3, 3)
    assert [event.erased for event in store.read_all()] == [True, True, False]


def test_an_append_after_another_process_has_imported_a_log_goes_on_from_its_end(store, tmp_path):
    with open_store("sqlite:///first.db") as first:
        first.append("Account-1", texts("a", "b"), expected_version=0)
        first.append("Account-2", texts("c"), expected_version=0)
        export_log(first, tmp_path / "log.jsonl")
    store.append("Account-1", [], expected_version=0)
    elsewhere('import_log(Path("log.jsonl"), store.url)')

    result = store.append("Account-1", texts("d"), expected_version=2)

    assert (result.version, result.global_position) == (3, 4)
    assert verify(store).verdict == "ok"


def test_an_append_after_an_older_state_was_copied_into_the_file_goes_on_from_there(store):
    store.append("Account-1", texts("a"), expected_version=0)
    with closing(sqlite3.connect("log.db")) as live, closing(sqlite3.connect("old.db")) as old:
        live.backup(old)
    store.append("Account-1", texts("b"), expected_version=1)
    store.append("Account-2", [number(1)], expected_version=0)
    with closing(sqlite3.connect("log.db")) as live, closing(sqlite3.connect("old.db")) as old:
        old.backup(live)

    with pytest.raises(VersionConflict):
        store.append("Account-1", texts("c"), expected_version=2)
    store.append("Account-1", texts("c"), expected_version=1)
    store.append("Account-2", [number(2)], expected_version=0)

    assert values(store.read_all()) == ["a", "c", 2]
    assert verify(store).verdict == "ok"


def test_an_append_after_another_process_has_changed_the_tables_goes_on(store):
    store.append("Account-1", texts("a"), expected_version=0)
    with closing(sqlite3.connect("log.db")) as newer:
        newer.execute("CREATE TABLE more (key TEXT)")
        newer.execute("UPDATE streams SET stream_id = 70")
        newer.execute("UPDATE events SET stream_id = 70")
        newer.execute(f"PRAGMA user_version = {current_version() + 1}")
        newer.commit()

    assert store.append("Account-1", texts("b"), expected_version=1).version == 2
    assert values(store.read_stream("Account-1")) == ["a", "b"]


def test_what_was_rolled_back_is_not_remembered(store, monkeypatch):
    store.append("Account-1", texts("a"), expected_version=0)

    def fail(_cursor, _schemas):
        raise LookupError("after its events were inserted")

    with monkeypatch.context() as patch:
        patch.setattr(kept, "save_schemas", fail)
        for stream in ("Account-1", "Order-1"):
            with pytest.raises(LookupError):
                store.append(stream, [number(1)], expected_version=ANY)
    store.append("Account-1", [number(2)], expected_version=1)
    store.append("Order-1", [number(3)], expected_version=NO_STREAM)

    assert [event.global_position for event in store.read_all()] == [1, 2, 3]
    assert values(store.read_all(event_types=["google.protobuf.Int64Value"])) == [2, 3]
    assert verify(store).verdict == "ok"


class InterruptedTwice:
    """A connection whose next commit is interrupted once it is armed, and so is the rollback."""

    def __init__(self, connection):
        self.connection = connection
        self.armed = []

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def cursor(self):
        return InterruptedCursor(self.connection.cursor(), self)

    def execute(self, statement, *parameters):
        return self.run(self.connection, statement, *parameters)

    def run(self, runner, statement, *parameters):
        if self.armed[:1] == [statement]:
            self.armed.pop(0)
            raise KeyboardInterrupt
        return runner.execute(statement, *parameters)


class InterruptedCursor:
    def __init__(self, cursor, connection):
        self.cursor = cursor
        self.connection = connection

    def __getattr__(self, name):
        return getattr(self.cursor, name)

    def execute(self, statement, *parameters):
        return self.connection.run(self.cursor, statement, *parameters)


def test_a_transaction_that_an_interrupt_left_open_is_not_remembered(tmp_path, monkeypatch):
    made = connections_that_write(monkeypatch, InterruptedTwice)
    with sqlite_store(tmp_path / "log.db", "sqlite:///log.db") as store:
        store.append("Account-1", texts("a"), expected_version=0)
        made[-1].armed = ["COMMIT", "ROLLBACK"]
        with pytest.raises(KeyboardInterrupt):
            store.append("Account-1", texts("lost"), expected_version=1)
        assert made[-1].in_transaction

        result = store.append("Account-1", texts("b"), expected_version=1)

        assert (result.version, result.global_position) == (2, 2)
        assert values(store.read_all()) == ["a", "b"]


def test_an_append_to_a_stream_that_is_known_looks_nothing_up(writing, store):
    store.append("Account-1", texts("a"), expected_version=0)
    statements = []
    writing[-1].set_trace_callback(statements.append)

    store.append("Account-1", texts("b"), expected_version=1)

    first_words = [statement.split()[0] for statement in statements]
    assert first_words == ["BEGIN", "PRAGMA", "INSERT", "COMMIT"]


def test_an_append_to_a_stream_that_should_be_new_looks_by_making_it(writing, store):
    store.append("Account-1", texts("a"), expected_version=0)
    statements = []
    writing[-1].set_trace_callback(statements.append)

    store.append("Account-2", texts("b"), expected_version=NO_STREAM)
    store.append("Account-3", [], expected_version=NO_STREAM)

    made = ["BEGIN", "PRAGMA", "INSERT", "INSERT", "COMMIT"]
    not_made = ["BEGIN", "PRAGMA", "SELECT", "COMMIT"]
    assert [statement.split()[0] for statement in statements] == made + not_made


def test_a_stream_that_should_be_new_and_is_not_is_a_conflict(store):
    store.append("Account-1", texts("a"), expected_version=0)
    store._storage._writer._committer._tip.forget()

    with pytest.raises(VersionConflict) as conflict:
        store.append("Account-1", texts("b"), expected_version=0)

    assert conflict.value.actual == 1
    assert values(store.read_all()) == ["a"]


def test_more_streams_than_are_remembered_are_looked_up_again(store, monkeypatch):
    monkeypatch.setattr(append_cache, "_MOST_STREAMS", 3)
    for version in range(3):
        for stream in range(5):
            store.append(f"Account-{stream}", texts("a"), expected_version=version)
            assert len(store._storage._writer._committer._tip._streams) <= 3

    assert {store.stream_version(f"Account-{stream}") for stream in range(5)} == {3}
    assert verify(store).verdict == "ok"
