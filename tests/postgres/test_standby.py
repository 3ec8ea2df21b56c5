"""A standby answers whatever only reads; its promotion with a lag is noticed."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, NewEvent, Projection, open_store
from eskit.errors import CheckpointMismatch, StoreUnavailable
from eskit.operations.verifying import verify
from eskit.postgres.server import PrivatePostgres
from eskit.projections.engine import ProjectionEngine
from tests.support.standby import catch_up, copy_of, cut_off, promote


@pytest.fixture
def servers():
    """A primary and its standby, both running."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        second = folder / "standby"
        with PrivatePostgres(folder / "primary") as primary:
            second.mkdir()
            second.chmod(0o755)
            with copy_of(primary, second) as standby:
                yield primary, standby


def url(server):
    return f"{server.url()}?schema=bank"


def append(store, *texts):
    for text in texts:
        store.append("Account-1", [NewEvent(StringValue(value=text))], expected_version=ANY)


def texts(store):
    return [event.message.value for event in store.read_all()]


def projection(seen):
    made = Projection("texts")

    @made.on(StringValue)
    def note(event, context):
        seen.append(event.value)

    return made


def test_a_standby_answers_what_reads_and_names_the_primary_to_what_writes(servers):
    primary, standby = servers
    with open_store(url(primary)) as store:
        append(store, "a", "b")
        catch_up(primary, standby)
        with open_store(url(standby), create=False) as copy:
            read = texts(copy), copy.stream_version("Account-1"), copy.head_position()
            listed = [info.stream for info in copy.list_streams()]
            settings, findings = copy.info().settings, verify(copy).findings
            with pytest.raises(StoreUnavailable) as refused:
                append(copy, "c")
            with pytest.raises(StoreUnavailable) as also_refused:
                copy.check_writing()

        assert copy.store_id == store.store_id
    assert (read, listed, findings) == ((["a", "b"], 2, 2), ["Account-1"], ())
    assert settings["server"] == "standby"
    for error in (refused.value, also_refused.value):
        assert "is read-only" in error.message
        assert error.hint.startswith("Name the primary")


def test_projections_follow_a_standby_as_long_as_it_is_one_and_after_it_was_promoted(
    servers, tmp_path
):
    primary, standby = servers
    seen, stop = [], threading.Event()
    with open_store(url(primary)) as store:
        append(store, "a")
        catch_up(primary, standby)
        with open_store(url(standby), create=False) as copy:
            read_model = f"sqlite:///{tmp_path / 'read.db'}"
            engine = ProjectionEngine(copy, [projection(seen)], read_model)
            runner = threading.Thread(target=lambda: engine.run(once=False, stop=stop))
            runner.start()
            try:
                appended = store.append(
                    "Account-1", [NewEvent(StringValue(value="b"))], expected_version=ANY
                )
                engine.wait_for("texts", appended.global_position, 60)
                catch_up(primary, standby)
                promote(standby)
                append(copy, "c")
                engine.wait_for("texts", 3, 60)
            finally:
                stop.set()
                runner.join()
                engine.close()

    assert seen == ["a", "b", "c"]


@pytest.mark.promise("lost-wal-is-noticed")
def test_a_promotion_that_lost_events_is_noticed_by_who_had_seen_them(servers, tmp_path):
    """The positions of what was lost belong to other events then, under the same store id."""
    primary, standby = servers
    seen = []
    read_model = f"sqlite:///{tmp_path / 'read.db'}"
    with open_store(url(primary)) as store:
        append(store, "a", "b")
        catch_up(primary, standby)
        cut_off(standby)
        append(store, "lost", "lost too")
        with closing(ProjectionEngine(store, [projection(seen)], read_model)) as engine:
            engine.run()
        os.kill(primary.pid, signal.SIGKILL)
    promote(standby)

    with open_store(url(standby), create=False) as promoted:
        append(promoted, "c", "d", "e")
        with (
            closing(ProjectionEngine(promoted, [projection(seen)], read_model)) as engine,
            pytest.raises(CheckpointMismatch) as noticed,
        ):
            engine.run()
        assert promoted.store_id == store.store_id

    assert seen == ["a", "b", "lost", "lost too"]
    assert "at 4 it has event" in noticed.value.message
    assert "eskit project rebuild texts" in noticed.value.hint
