"""A runner outlives the read model, the store or NATS being away for a while."""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from eskit import ANY, NewEvent, open_store
from eskit.errors import CheckpointMismatch, EskitError
from eskit.messaging.log_nats import JetStreamLog
from eskit.nats.server import EmbeddedNats
from eskit.projections.engine import ProjectionEngine
from tests.projections.conftest import rows, until
from tests.support.account_events import Counted
from tests.support.jetstream import publish_all


class Runner:
    """A thread that follows; what it was told of outages, and what it ended with."""

    def __init__(self, engine: ProjectionEngine) -> None:
        self.engine = engine
        self.told: list[EskitError | None] = []
        self.errors: list[EskitError] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._follow)

    def _follow(self) -> None:
        try:
            self.engine.run(once=False, stop=self.stop, waiting=self.told.append)
        except EskitError as error:
            self.errors.append(error)

    def reaches(self, position: int) -> bool:
        """Whether it comes to a position, and not to an end before."""
        until(lambda: self.errors or self.engine.wait_for("counts", position, 0.01))
        assert self.errors == []
        return True


@contextmanager
def running(engine: ProjectionEngine):
    """A runner, stopped in the end."""
    runner = Runner(engine)
    runner.thread.start()
    try:
        yield runner
    finally:
        runner.stop.set()
        runner.thread.join(30)
        assert not runner.thread.is_alive()


pytestmark = pytest.mark.sqlite_only


@pytest.fixture
def path(read_models) -> Path:
    return Path(read_models.removeprefix("sqlite:///"))


@pytest.fixture
def started(engine_of, append, counts):
    """An engine whose runner has handled one event; yields the runner."""
    append(Counted(key="a", amount=1))
    engine = engine_of(counts)
    with running(engine) as runner:
        assert runner.reaches(1)
        yield runner


def amount(engine) -> list[tuple]:
    return rows(engine, "SELECT amount FROM counts")


@pytest.mark.promise("outages-are-waited-for")
def test_a_read_model_moved_away_is_waited_for_and_not_made_anew(
    started, append, path, monkeypatch
):
    models, looks = started.engine._models, []
    look = models.reader
    monkeypatch.setattr(models, "reader", lambda: looks.append("again") or look())
    away = path.with_name("away.db")
    path.rename(away)
    append(Counted(key="a", amount=1))
    until(lambda: len(looks) >= 2)
    append(Counted(key="a", amount=1))

    assert "was deleted or replaced" in started.told[0].message
    assert not path.exists()
    (status,) = started.engine.status()
    assert (status.state, status.holder.pid) == ("failed", os.getpid())
    assert "was deleted or replaced" in status.error

    away.rename(path)

    assert started.reaches(3)
    until(lambda: len(started.told) == 2)
    assert started.told[1] is None
    assert amount(started.engine) == [(3,)]
    assert started.engine.status()[0].error == ""


def test_a_copy_put_in_its_place_is_gone_on_with(started, append, path):
    with (
        closing(sqlite3.connect(path)) as live,
        closing(sqlite3.connect(path.with_name("copy.db"))) as copy,
    ):
        live.backup(copy)
    path.with_name("copy.db").replace(path)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)

    append(Counted(key="a", amount=1))

    assert started.reaches(2)
    assert amount(started.engine) == [(2,)]


def test_an_empty_file_in_its_place_stops_the_runner(started, append, path):
    for file in path.parent.glob("read.db*"):
        if file.is_file():
            file.unlink()
    sqlite3.connect(path).execute("CREATE TABLE mine (x)").connection.close()
    append(Counted(key="a", amount=1))

    started.thread.join(30)

    (error,) = started.errors
    assert isinstance(error, CheckpointMismatch)
    assert "has no checkpoint for projection 'counts'" in error.message


@pytest.mark.promise("outages-are-waited-for")
def test_a_file_that_is_damaged_stops_the_runner(started, append, path):
    for file in path.parent.glob("read.db*"):
        if file.is_file():
            file.unlink()
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    append(Counted(key="a", amount=1))

    started.thread.join(30)

    (error,) = started.errors
    assert error.code == "READ_MODEL_DAMAGED"


def test_a_read_model_that_somebody_has_locked_is_waited_for(started, append, path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    append(Counted(key="a", amount=1))
    until(lambda: started.told)
    assert "locked" in started.told[0].message

    other.execute("ROLLBACK")
    other.close()

    assert started.reaches(2)
    until(lambda: started.told[-1] is None)
    assert len(started.told) == 2


def test_stop_ends_a_runner_that_waits_for_another_writer(started, append, path):
    file = os.open(f"{path}-locks/write", os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        append(Counted(key="a", amount=1))
        until(lambda: waits_for_a_lock(started.thread))
        started.stop.set()
        started.thread.join(10)

        assert not started.thread.is_alive()
    finally:
        os.close(file)
    assert (started.errors, started.told) == ([], [])


def waits_for_a_lock(thread: threading.Thread) -> bool:
    import sys
    import traceback

    frame = sys._current_frames().get(thread.ident)
    return any(step.name == "acquire" for step in traceback.extract_stack(frame))


def test_stop_ends_a_runner_in_the_middle_of_an_outage(started, append, path):
    path.rename(path.with_name("away.db"))
    append(Counted(key="a", amount=1))
    until(lambda: started.told)

    started.stop.set()
    started.thread.join(10)

    assert not started.thread.is_alive()
    assert started.errors == []


def fill(hog: Path) -> None:
    with hog.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 65536)


@pytest.mark.promise("outages-are-waited-for")
def test_a_full_disk_is_waited_for(store, append, counts, small_disk):
    append(Counted(key="a", amount=1))
    engine = ProjectionEngine(store, [counts], f"sqlite:///{small_disk}/read.db")
    try:
        with running(engine) as runner:
            assert runner.reaches(1)
            hog = small_disk / "hog"
            with pytest.raises(OSError, match="No space"):
                fill(hog)
            for start in range(0, 40_000, 1_000):
                append(*(Counted(key=f"k{start + n}", amount=1) for n in range(1_000)))
            until(lambda: runner.told)
            assert "full" in runner.told[0].message

            hog.unlink()
            until(lambda: runner.told[-1] is None)
    finally:
        engine.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.promise("outages-are-waited-for")
def test_a_restarted_server_is_waited_for(store, append, counts, read_models, tmp_path):
    port = free_port()
    settings = {"port": port, "store_dir": tmp_path / "nats", "token": "of-the-test"}
    server = EmbeddedNats(**settings)
    server.start()
    append(Counted(key="a", amount=1))
    publish_all(server.url, store)
    with JetStreamLog(lambda: f"nats://of-the-test@127.0.0.1:{port}") as log:
        engine = ProjectionEngine(log, [counts], read_models)
        try:
            with running(engine) as runner:
                assert runner.reaches(1)
                server.stop()
                until(lambda: runner.told)
                append(Counted(key="a", amount=1))
                server = EmbeddedNats(**settings)
                server.start()
                publish_all(server.url, store)
                assert runner.reaches(2)
                until(lambda: runner.told[-1] is None)
            assert amount(engine) == [(2,)]
            assert len(runner.told) == 2
        finally:
            engine.close()
            server.stop()


def test_another_store_in_its_place_stops_the_runner(append, counts, engine_of, tmp_path):
    """Whoever is started again on it: a store has an id of its own."""
    append(Counted(key="a", amount=1))
    engine_of(counts).run()
    with open_store(f"sqlite:///{tmp_path}/other.db") as other:
        other.append("A-1", [NewEvent(Counted(key="b"))], expected_version=ANY)
        engine = ProjectionEngine(other, [counts], f"sqlite:///{tmp_path}/read.db")
        with pytest.raises(CheckpointMismatch, match="it followed store"):
            engine.run(once=False)
        engine.close()
