"""A disk that is full, a file cut short, a write-ahead log that somebody deleted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import EventContext, Projection
from eskit.errors import CheckpointMismatch, StoreDamaged, StoreUnavailable
from eskit.operations.verifying import verify
from eskit.projections.engine import ProjectionEngine
from eskit.store.open import open_store
from eskit.testing.store_contract import text, texts

URL = "sqlite:///log.db"


@pytest.mark.promise("appends-are-durable")
def test_a_full_disk_is_named_and_every_acknowledged_append_is_there(small_disk):
    url = f"sqlite:///{small_disk / 'log.db'}"
    acknowledged = 0

    def append_for_ever(store):
        nonlocal acknowledged
        while True:
            store.append("Account-1", [text("x" * 20_000)], expected_version=acknowledged)
            acknowledged += 1

    with open_store(url) as store:
        with pytest.raises(StoreUnavailable, match="disk is full"):
            append_for_ever(store)

        assert store.stream_version("Account-1") == acknowledged
        assert len(list(store.read_all())) == acknowledged
        assert verify(store).verdict == "ok"

    with open_store(url, create=False) as again:
        assert again.stream_version("Account-1") == acknowledged > 10


def test_an_append_that_finds_no_room_leaves_room_for_the_next(small_disk):
    url = f"sqlite:///{small_disk / 'log.db'}"
    with open_store(url) as store:
        store.append("Account-1", texts("a"), expected_version=0)

        with pytest.raises(StoreUnavailable, match="disk is full"):
            store.append("Account-1", [text("x" * 3_000_000)], expected_version=1)

        assert store.append("Account-1", texts("b"), expected_version=1).version == 2


@pytest.mark.parametrize("kept", [1, 100, 4096, 0.3, 0.9])
@pytest.mark.promise("foreign-files-are-untouched")
def test_a_file_cut_short_is_a_named_error_and_nothing_is_written(kept):
    with open_store(URL) as store:
        for number in range(40):
            store.append(f"Account-{number}", [text("x" * 500)], expected_version=0)
    whole = Path("log.db").read_bytes()
    cut = whole[: kept if isinstance(kept, int) else int(len(whole) * kept)]
    Path("log.db").write_bytes(cut)

    with pytest.raises(StoreDamaged), open_store(URL) as store:
        store.append("Account-new", texts("a"), expected_version=0)

    assert Path("log.db").read_bytes()[: len(cut)] == cut


LEAVE_A_WAL = """
import os
from google.protobuf.wrappers_pb2 import StringValue
from eskit import ANY, NewEvent
from tests.store.faults.test_disk import URL, follow, open_store

store = open_store(URL)
for number in range(10):
    store.append("Account-1", [NewEvent(StringValue(value="lost"))], expected_version=ANY)
follow(store)
os._exit(0)  # neither closed nor checkpointed
"""


def follow(store) -> None:
    """Bring a projection that counts events to the head of the log."""
    Path("migrations").mkdir(exist_ok=True)
    Path("migrations/0001_seen.sql").write_text("CREATE TABLE seen (n INTEGER);\n")
    counting = Projection("counting", migrations=Path("migrations").absolute())

    @counting.on(StringValue)
    def seen(_event: StringValue, context: EventContext) -> None:
        context.db.execute("INSERT INTO seen VALUES (1)")

    engine = ProjectionEngine(store, [counting], "sqlite:///read.db")
    try:
        engine.run()
    finally:
        engine.close()


@pytest.mark.parametrize("after", [0, 5, 25])
@pytest.mark.promise("lost-wal-is-noticed")
def test_a_deleted_wal_is_noticed_by_the_event_a_checkpoint_names(checkout, after):
    with open_store(URL) as store:
        store.append("Account-1", texts("kept"), expected_version=0)
    subprocess.run(
        [sys.executable, "-c", LEAVE_A_WAL],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        timeout=60,
        check=True,
    )
    Path("log.db-wal").unlink()
    Path("log.db-shm").unlink(missing_ok=True)

    with open_store(URL) as store:
        for number in range(after):
            store.append("Account-2", texts("later"), expected_version=number)

        with pytest.raises(CheckpointMismatch):
            follow(store)
