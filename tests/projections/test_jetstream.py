"""Projections fed from the relay's stream, in a process that does not have the store."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from eskit import ANY, FailurePolicy, Metadata, NewEvent, Projection, open_store
from eskit.errors import BrokerUnavailable, CheckpointMismatch, ProjectionFailed
from eskit.messaging.log_nats import JetStreamLog
from eskit.nats.connection import connected
from eskit.nats.jetstream import api, publish
from eskit.nats.server import EmbeddedNats
from eskit.projections.engine import ProjectionEngine
from tests.projections.conftest import counting, rows, until
from tests.support.account_events import Counted, NoteAdded
from tests.support.jetstream import publish_all

ROUNDS = int(os.environ.get("PROJECTION_KILL_ROUNDS", "10"))


@pytest.fixture
def server():
    with EmbeddedNats() as server:
        yield server


@pytest.fixture
def log_of(server):
    """Logs of the server's stream; closed after the test."""
    logs = []

    def make() -> JetStreamLog:
        logs.append(JetStreamLog(lambda: server.url))
        return logs[-1]

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def remote(log_of, read_models):
    """Engines over the stream; closed after the test."""
    engines = []

    def make(*projections, log=None) -> ProjectionEngine:
        engines.append(ProjectionEngine(log or log_of(), projections, read_models))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def relay(server, store):
    """Publish what is new in the store."""
    return lambda log=store: publish_all(server.url, log)


@pytest.fixture
def jetstream(server):
    """One request of the JetStream API."""

    def ask(verb, request=None):
        async def run():
            async with connected(server.url) as connection:
                return await api(connection, verb, request)

        return asyncio.run(run())

    return ask


@contextmanager
def following(engine, **options):
    """A thread that follows until the block ends."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: engine.run_each(once=False, stop=stop, **options))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def count(append, number: int) -> None:
    append(*(Counted(key=f"k{n % 7}", amount=n) for n in range(number)))


def assert_rows_are_the_fold(engine, store) -> None:
    fold: dict[str, int] = {}
    positions = []
    for event in store.read_all(event_types=["eskit.tests.ledger.v1.Counted"]):
        fold[event.message.key] = fold.get(event.message.key, 0) + event.message.amount
        positions.append((event.global_position,))
    assert rows(engine, "SELECT key, amount FROM counts ORDER BY key") == sorted(fold.items())
    assert rows(engine, "SELECT position FROM counts_seen") == positions


def test_everything_that_was_relayed_is_handled_once(remote, relay, store, append, counts):
    count(append, 3_000)
    append(NoteAdded(), stream="Note-1")
    relay()
    engine = remote(counts)

    (report,) = engine.run()

    assert (report.events, report.position) == (3_000, 3_001)
    assert_rows_are_the_fold(engine, store)
    assert engine.run()[0].events == 0


def test_handlers_see_the_event_as_it_was_recorded(remote, relay, store, log_of):
    seen = []
    keeping = Projection("keeping")
    keeping.on(Counted)(lambda event, context: seen.append((event, context.event)))
    metadata = Metadata(
        correlation_id="c 1",
        causation_id="ü",
        command_id="cmd",
        principal_id="p",
        custom={"a": "ä"},
    )
    event = NewEvent(Counted(key="k", amount=7), metadata=metadata)
    store.for_tenant("acme.de").append("Account-ä 1", [event], expected_version=ANY)
    relay()

    remote(keeping).run()

    ((message, context_event),) = seen
    (recorded,) = store.read_all()
    assert message == Counted(key="k", amount=7)
    assert context_event == recorded
    assert context_event.metadata == metadata
    assert (context_event.tenant, context_event.recorded_at) == ("acme.de", recorded.recorded_at)


def test_events_are_handled_as_they_are_published(remote, relay, store, append, counts):
    count(append, 1)
    relay()
    engine = remote(counts)

    with following(engine):
        assert engine.wait_for("counts", 1, 20)
        count(append, 3)
        relay()
        assert engine.wait_for("counts", 4, 20)

    assert_rows_are_the_fold(engine, store)
    assert engine.status()[0].state == "idle"


def test_status_counts_what_lies_ahead_without_the_store(remote, relay, append, counts):
    count(append, 2)
    relay()
    engine = remote(counts)
    engine.run()
    append(NoteAdded(), Counted(key="a"), NoteAdded(), Counted(key="b"), stream="Mixed-1")
    relay()

    (status,) = engine.status()

    assert (status.state, status.position, status.head, status.lag) == ("idle", 2, 6, 2)
    assert status.behind_seconds > 0
    assert status.error == ""


def test_events_of_no_interest_are_passed(remote, relay, append, counts):
    append(*(NoteAdded() for _ in range(20)))
    relay()
    engine = remote(counts)

    engine.run()

    assert engine.status()[0].position == 20


def test_projections_at_different_places_meet(remote, relay, store, append, tmp_path):
    one, two = counting(tmp_path, "one"), counting(tmp_path, "two")
    count(append, 10)
    relay()
    engine = remote(one, two)
    engine.run(["one"])
    count(append, 10)
    relay()

    engine.run()

    assert rows(engine, "SELECT * FROM one_seen") == rows(engine, "SELECT * FROM two_seen")
    assert len(rows(engine, "SELECT * FROM one_seen")) == 20


@pytest.mark.promise("jetstream-is-exactly-once")
def test_messages_thrown_away_before_they_were_read_stop_it(
    remote, relay, store, append, counts, jetstream
):
    count(append, 3)
    relay()
    engine = remote(counts)
    engine.run()
    count(append, 4)
    relay()
    jetstream("STREAM.PURGE.ESKIT_EVENTS", {"seq": 6})

    with pytest.raises(CheckpointMismatch, match=r"after 3: messages 4 to 5 are gone"):
        engine.run()

    (status,) = engine.status()
    assert status.state == "failed"
    assert "messages 4 to 5 are gone" in status.error
    assert status.position == 3


@pytest.mark.promise("jetstream-is-exactly-once")
def test_a_message_deleted_in_the_middle_stops_it_right_before(
    remote, relay, store, append, counts, jetstream
):
    count(append, 6)
    relay()
    jetstream("STREAM.MSG.DELETE.ESKIT_EVENTS", {"seq": 4})
    engine = remote(counts)

    with pytest.raises(CheckpointMismatch, match=r"after 3: message 4 is gone"):
        engine.run()

    assert rows(engine, "SELECT position FROM counts_seen") == [(1,), (2,), (3,)]
    assert engine.status()[0].state == "failed"


def test_messages_thrown_away_after_they_were_read_are_not_missed(
    remote, relay, store, append, counts, jetstream
):
    count(append, 3)
    relay()
    engine = remote(counts)
    engine.run()
    jetstream("STREAM.PURGE.ESKIT_EVENTS")

    engine.run()
    (status,) = engine.status()
    assert (status.state, status.position, status.head, status.lag) == ("idle", 3, 3, 0)

    count(append, 2)
    relay()
    engine.run()

    assert_rows_are_the_fold(engine, store)


def test_a_new_projection_needs_a_stream_from_its_first_message_on(
    remote, relay, append, counts, jetstream
):
    count(append, 3)
    relay()
    jetstream("STREAM.PURGE.ESKIT_EVENTS", {"seq": 2})
    engine = remote(counts)

    with pytest.raises(CheckpointMismatch, match="after 0: message 1 is gone"):
        engine.run()


def test_a_stream_that_was_made_anew_stops_it(remote, relay, store, append, counts, jetstream):
    count(append, 3)
    relay()
    engine = remote(counts)
    engine.run()
    config = jetstream("STREAM.INFO.ESKIT_EVENTS")["config"]
    jetstream("STREAM.DELETE.ESKIT_EVENTS")
    jetstream("STREAM.CREATE.ESKIT_EVENTS", config)

    with pytest.raises(CheckpointMismatch, match="stream ESKIT_EVENTS was recreated"):
        engine.run()
    assert engine.status()[0].state == "failed"


@pytest.mark.promise("jetstream-is-exactly-once")
def test_a_stream_made_anew_is_noticed_while_following(remote, relay, append, counts, jetstream):
    count(append, 3)
    relay()
    engine = remote(counts)
    told = []

    with following(engine, progress=told.append):
        assert engine.wait_for("counts", 3, 20)
        config = jetstream("STREAM.INFO.ESKIT_EVENTS")["config"]
        jetstream("STREAM.DELETE.ESKIT_EVENTS")
        jetstream("STREAM.CREATE.ESKIT_EVENTS", config)
        until(lambda: any(step.error for step in told))

    (error,) = [step.error for step in told if step.error]
    assert "was recreated" in error.message


def test_a_stream_of_another_store_stops_it(remote, relay, append, counts, jetstream, tmp_path):
    count(append, 3)
    relay()
    remote(counts).run()
    jetstream("STREAM.DELETE.ESKIT_EVENTS")
    with open_store(f"sqlite:///{tmp_path}/other.db") as other:
        other.append("A-1", [NewEvent(Counted(key="x")) for _ in range(5)], expected_version=ANY)
        relay(other)
    engine = remote(counts)

    with pytest.raises(CheckpointMismatch, match="was recreated"):
        engine.run()


@pytest.mark.promise("jetstream-is-exactly-once")
def test_a_message_of_another_store_stops_it_before(
    server, remote, relay, store, append, counts, tmp_path
):
    count(append, 3)
    relay()
    headers = {"ce-source": "/bank/another-store"}
    publish_copy(server, sequence=2, position=9, **headers)
    engine = remote(counts)

    with pytest.raises(CheckpointMismatch, match="after 3: it has events of store another-store"):
        engine.run()

    assert rows(engine, "SELECT COUNT(*) FROM counts_seen") == [(3,)]


def test_a_message_that_is_no_event_stops_it_before(server, remote, relay, append, counts):
    count(append, 3)
    relay()

    async def meddle():
        async with connected(server.url) as connection:
            await publish(connection, "eskit.events.Stray.thing", b"hello", {})

    asyncio.run(meddle())
    publish_copy(server, sequence=3, position=4)
    engine = remote(counts)

    with pytest.raises(CheckpointMismatch, match=r"after 3: .*without the headers of an event"):
        engine.run()


@pytest.mark.promise("jetstream-is-exactly-once")
def test_an_event_published_twice_is_handled_once(server, remote, relay, store, append, counts):
    count(append, 3)
    relay()
    publish_copy(server, sequence=2)
    publish_copy(server, sequence=3)
    engine = remote(counts)

    engine.run()
    publish_copy(server, sequence=1, position=4)
    engine.run()

    assert rows(engine, "SELECT position FROM counts_seen") == [(1,), (2,), (3,), (4,)]


def publish_copy(server, *, sequence: int, position: int | None = None, **changed) -> None:
    """Publish a message of the stream once more, out of the server's sight for duplicates."""

    async def run():
        from eskit.nats.jetstream import message_from

        async with connected(server.url) as connection:
            message = await message_from(connection, "ESKIT_EVENTS", sequence)
            headers = {k: v for k, v in message.headers.items() if k.startswith("ce-")}
            if position is not None:
                headers["ce-globalposition"] = str(position)
            headers |= {name.replace("_", "-"): value for name, value in changed.items()}
            await publish(connection, message.subject, message.data, headers)

    asyncio.run(run())


def test_a_projection_run_from_the_store_goes_on_from_the_stream_and_back(
    remote, engine_of, relay, store, append, counts
):
    local, engine = engine_of(counts), remote(counts)
    count(append, 3)
    relay()
    local.run()
    count(append, 3)
    relay()

    engine.run()
    count(append, 3)
    local.run()
    relay()
    (report,) = engine.run()

    assert (report.events, report.position) == (0, 9)
    assert_rows_are_the_fold(engine, store)


def test_a_projection_ahead_of_the_stream_waits_until_it_is_known_to_be_complete(
    remote, engine_of, relay, append, counts
):
    count(append, 3)
    relay()
    count(append, 1)
    engine_of(counts).run()

    with pytest.raises(
        CheckpointMismatch, match="after 4: stream ESKIT_EVENTS does not have that event"
    ):
        remote(counts).run()


def test_rebuild_and_diff_read_the_whole_stream(remote, relay, store, append, counts):
    count(append, 500)
    relay()
    engine = remote(counts)
    engine.run()

    report = engine.rebuild("counts")
    difference = engine.diff("counts")
    count(append, 5)
    relay()
    engine.run()

    assert (report.events, report.position) == (500, 500)
    assert difference.equal
    assert_rows_are_the_fold(engine, store)


def test_a_rebuild_from_a_stream_that_lost_its_beginning_is_refused(
    remote, relay, store, append, counts, jetstream
):
    count(append, 5)
    relay()
    engine = remote(counts)
    engine.run()
    jetstream("STREAM.PURGE.ESKIT_EVENTS", {"seq": 3})

    with pytest.raises(CheckpointMismatch, match="messages 1 to 2 are gone"):
        engine.rebuild("counts")

    assert_rows_are_the_fold(engine, store)


def test_a_checkpoint_is_set_to_an_event_of_the_stream(remote, relay, append, counts):
    count(append, 6)
    relay()
    engine = remote(counts)
    engine.run()

    change = engine.set_checkpoint("counts", 4, reason="rows deleted by hand", by="ann")
    (report,) = engine.run()

    assert (change.before, change.after, change.again) == (6, 4, 2)
    assert (report.events, report.position) == (2, 6)


def test_failed_events_are_set_aside_and_retried_from_the_stream(remote, relay, append):
    broken = [True]
    policy = FailurePolicy(then="set_aside_stream", retries=0)
    fragile = Projection("fragile", on_failure=policy)

    @fragile.on(Counted)
    def counted(event, context):
        if broken[0] and event.key == "k1":
            raise KeyError(event.key)

    count(append, 3)
    relay()
    engine = remote(fragile)

    (report,) = engine.run()
    letters = engine.dead_letters("fragile")
    broken.clear()
    broken.append(False)
    done = engine.retry_dead_letter(letters[0], reason="mended", by="ann")

    assert (report.position, report.set_aside) == (3, 1)
    assert [(letter.position, letter.state) for letter in letters] == [
        (2, "failed"),
        (3, "waiting"),
    ]
    assert (done.handled, done.left) == (2, 0)


def test_a_handler_that_raises_stops_it_before_the_event(remote, relay, append):
    stopping = Projection("stopping", on_failure=FailurePolicy(retries=0))
    stopping.on(Counted)(lambda event, context: {}[event.key] if event.key == "k2" else None)
    count(append, 5)
    relay()
    engine = remote(stopping)

    with pytest.raises(ProjectionFailed, match="stopped before 3"):
        engine.run()

    assert engine.status()[0].position == 2


def test_without_a_stream_running_says_what_is_missing(remote, counts):
    with pytest.raises(BrokerUnavailable, match="There is no stream ESKIT_EVENTS yet"):
        remote(counts).run()


@pytest.mark.promise("jetstream-is-exactly-once")
def test_rows_survive_a_kill_at_any_moment(server, remote, relay, store, append, counts, tmp_path):
    chance = random.Random()
    count(append, 3_000)
    relay()

    for _ in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.processes.following", server.url, tmp_path],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        count(append, 100)
        relay()
        time.sleep(chance.random() * 0.2)
        process.kill()
        process.communicate()

    engine = remote(counts)
    engine.run()
    assert_rows_are_the_fold(engine, store)
