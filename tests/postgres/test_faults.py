"""PostgreSQL goes away at the worst moments: nothing acknowledged is lost, doubled or half."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit.domain.commands import Command
from eskit.domain.events import NewEvent
from eskit.domain.streams import ANY
from eskit.errors import StoreUnavailable
from eskit.operations.verifying import verify
from eskit.postgres.server import PrivatePostgres, find_binaries
from eskit.postgres.url import parse_url
from eskit.processes.identity import process_start
from eskit.store.open import open_store
from eskit.store.postgres.schema import lock_key
from tests.postgres.proxy import CuttingProxy

ROUNDS = int(os.environ.get("ESKIT_TEST_KILLS", "30"))
HARD_ROUNDS = ROUNDS if ROUNDS > 30 else 3
"""How often a server that has to recover is killed: it takes a second or two."""
EVENTS = int(os.environ.get("ESKIT_TEST_EVENTS", "20000"))
CLIENT = Path(__file__).parents[1] / "store" / "faults" / "killing.py"


@pytest.fixture
def server():
    """A server of its own, which flushes and may be killed."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with PrivatePostgres(Path(folder) / "server") as server:
            yield server


class Writers:
    """Threads that append until they are stopped, and remember what was acknowledged."""

    def __init__(self, store, count=4):
        self._store = store
        self._stop = threading.Event()
        self.acknowledged = Counter()
        self.refused = []
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, count, within=60):
        deadline = time.monotonic() + within
        while len(self.acknowledged) < count:
            assert time.monotonic() < deadline, (len(self.acknowledged), self.refused[-3:])
            time.sleep(0.005)

    def _write(self, writer):
        number = 0
        while not self._stop.is_set():
            number += 1
            text = f"{writer}-{number}"
            event = NewEvent(StringValue(value=text))
            command = Command(id=text, fingerprint="f") if number % 2 else None
            # What was refused is appended again as it is: it may be there already.
            while True:
                try:
                    self._store.append(
                        f"Account-{writer}", [event], expected_version=ANY, command=command
                    )
                except StoreUnavailable as error:
                    self.refused.append(error)
                    if self._stop.is_set():
                        break
                else:
                    self.acknowledged[text] += 1
                    break


def check(store, writers):
    """Every acknowledged event is there once, none is there twice, and the store is well."""
    found = Counter(event.message.value for event in store.read_all())
    missing = [text for text in writers.acknowledged if text not in found]

    assert missing == []
    assert max(found.values()) == 1
    assert verify(store).findings == ()


def backend_of_writer(url):
    """The server's process that appends."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT * FROM append(%'"
        ).fetchone()
    return row[0] if row else 0


@pytest.mark.promise("appends-are-durable")
def test_backends_that_are_terminated_cost_no_append(server):
    with open_store(f"{server.url()}?schema=bank") as store, Writers(store) as writers:
        with psycopg.connect(server.url(), autocommit=True) as admin:
            for kill in range(1, ROUNDS + 1):
                writers.wait_for(kill * 5)
                admin.execute("SELECT pg_terminate_backend(%s)", (backend_of_writer(server.url()),))
        writers.__exit__()

        check(store, writers)


@pytest.mark.promise("appends-are-durable")
def test_killed_backends_cost_no_append(server):
    """A backend that is killed takes all others with it: the server recovers as after a crash."""
    with open_store(f"{server.url()}?schema=bank") as store, Writers(store) as writers:
        for kill in range(1, HARD_ROUNDS + 1):
            writers.wait_for(kill * 50)
            pid = backend_of_writer(server.url())
            if pid:
                os.kill(pid, signal.SIGKILL)
            writers.wait_for(kill * 50 + 20)
        writers.__exit__()

        check(store, writers)


@pytest.mark.promise("appends-are-durable")
def test_a_killed_server_costs_no_append(server):
    with open_store(f"{server.url()}?schema=bank") as store, Writers(store) as writers:
        for kill in range(1, HARD_ROUNDS + 1):
            writers.wait_for(kill * 50)
            pid = server.pid
            os.kill(pid, signal.SIGKILL)
            while process_start(pid) is not None:
                time.sleep(0.02)
            server.start()
            writers.wait_for(kill * 50 + 20)
        writers.__exit__()

        check(store, writers)


@pytest.mark.promise("appends-are-durable")
@pytest.mark.promise("appends-are-atomic")
def test_killed_clients_leave_every_acknowledged_append_and_none_half(server):
    seed = random.randrange(2**32)
    url = f"{server.url()}?schema=bank"

    ran = subprocess.run(
        [sys.executable, str(CLIENT), url, str(ROUNDS), str(seed)],
        capture_output=True,
        text=True,
        timeout=300 + 10 * ROUNDS,
        check=False,
    )

    assert ran.stderr == "", f"seed {seed}: {ran.stderr}"
    counted = json.loads(ran.stdout)
    assert counted["acknowledged"] > 0
    with open_store(url, create=False) as store:
        assert store.count_events() == counted["events"]
        assert verify(store).verdict == "ok"


class Through:
    """A store whose connections go through a proxy, and one beside it that goes straight."""

    def __init__(self, server, proxy):
        url = server.url()
        port = urlsplit(url).port
        self.straight = f"{url}?schema=bank"
        self.cut = f"{url.replace(f':{port}/', f':{proxy.port}/')}?schema=bank"


@pytest.mark.promise("errors-are-not-shared")
@pytest.mark.parametrize("with_command", [True, False])
def test_a_connection_that_is_cut_at_any_byte_of_an_append_costs_none(server, with_command):
    """Also where the server commits what the client has no answer to."""

    def append(stream, number):
        command = Command(id=f"{stream}-{number}", fingerprint="f") if with_command else None
        event = said(f"{number}")
        return store.append(stream, [event], expected_version=number, command=command).version

    with CuttingProxy(urlsplit(server.url()).port) as proxy:
        through = Through(server, proxy)
        with open_store(through.cut) as store:
            for number in range(3):
                before = proxy.passed
                append("Account-0", number)
            length = proxy.passed - before
            for number in range(ROUNDS):
                # From the first byte of the request to the last of the answer.
                proxy.cut_after(number * length // ROUNDS)
                assert append("Account-1", number) == number + 1
            assert proxy.cuts == ROUNDS
        with open_store(through.straight) as store:
            found = [event.message.value for event in store.read_stream("Account-1")]
            assert found == [str(number) for number in range(ROUNDS)]
            assert verify(store).findings == ()


def said(text):
    return NewEvent(StringValue(value=text))


@pytest.mark.promise("errors-are-not-shared")
@pytest.mark.parametrize("expected", [ANY, 0])
@pytest.mark.parametrize("command", [Command(id="c", fingerprint="f"), None])
def test_a_backend_that_was_cut_off_and_commits_late_adds_nothing(server, expected, command):
    """It waits for the lock when its client goes; the same append waits behind it."""
    with CuttingProxy(urlsplit(server.url()).port) as proxy:
        through = Through(server, proxy)
        with open_store(through.cut) as store, psycopg.connect(server.url()) as other:
            store.append("Account-0", [said("warm")], expected_version=ANY)
            other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key("bank"),))
            with ThreadPoolExecutor() as pool:
                appended = pool.submit(
                    store.append,
                    "Account-1",
                    [said("once")],
                    expected_version=expected,
                    command=command,
                )
                eventually(lambda: waiting_for_the_lock(server) == 1)
                proxy.cut_all()
                eventually(lambda: waiting_for_the_lock(server) == 2)
                other.rollback()

                assert appended.result(60).version == 1

            assert [event.message.value for event in store.read_stream("Account-1")] == ["once"]
            assert verify(store).findings == ()


@pytest.mark.promise("errors-are-not-shared")
@pytest.mark.parametrize("command", [Command(id="c", fingerprint="f"), None])
def test_a_request_that_arrives_after_its_own_repetition_adds_nothing(server, command):
    """The network holds it back, and its client sends it again over another connection."""
    with CuttingProxy(urlsplit(server.url()).port) as proxy:
        through = Through(server, proxy)
        with open_store(through.cut) as store:
            store.append("Account-0", [said("warm")], expected_version=ANY)
            proxy.hold(b"Account-1")

            store.append("Account-1", [said("once")], expected_version=ANY, command=command)
            proxy.release()
            store.append("Account-1", [said("next")], expected_version=1)

            eventually(lambda: not busy_appending(server))
            found = [event.message.value for event in store.read_stream("Account-1")]
            assert found == ["once", "next"]
            assert verify(store).findings == ()


def waiting_for_the_lock(server):
    with psycopg.connect(server.url()) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        ).fetchone()
    return row[0]


def busy_appending(server):
    with psycopg.connect(server.url()) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE query LIKE '%append(%' AND state = 'active' AND pid <> pg_backend_pid()"
        ).fetchone()
    return row[0] > 0


def eventually(condition, within=60):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


WRITER = """
import sys
from google.protobuf.wrappers_pb2 import StringValue
from eskit import ANY, NewEvent, open_store
url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open_store(url) as store:
    for number in range(0, count, 4):
        numbers = range(number, min(number + 4, count))
        events = [NewEvent(StringValue(value=f"{name}-{n}")) for n in numbers]
        store.append(f"Account-{name}-{number % 7}", events, expected_version=ANY)
"""


UNDONE = """
INSERT INTO events (
    global_position, version, event_id, stream_id, recorded_at, type_id, checksum, metadata, data
)
SELECT
    global_position + 1, version + 1, gen_random_uuid(), stream_id, recorded_at, type_id, checksum,
    metadata, data
FROM events ORDER BY global_position DESC LIMIT 1
"""


class Disturbance(threading.Thread):
    """Transactions that have the store's lock and are undone, and backends that are ended."""

    def __init__(self, url):
        super().__init__()
        self._url = url
        self._over = threading.Event()
        self.undone = self.ended = 0

    def run(self):
        with psycopg.connect(self._url, autocommit=True) as admin:
            admin.execute("SET search_path = bank")
            while not self._over.wait(0.1):
                with admin.transaction(force_rollback=True):
                    admin.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key("bank"),))
                    admin.execute(UNDONE)
                    self.undone += 1
                pid = backend_of_writer(self._url)
                if pid and self.undone % 5 == 0:
                    admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
                    self.ended += 1

    def end(self):
        self._over.set()
        self.join()


@pytest.mark.promise("one-order")
def test_a_follower_misses_nothing_that_four_processes_append(server):
    """Beside transactions that are undone, one that is open all the time, and ended backends."""
    url, each = f"{server.url()}?schema=bank", EVENTS // 4
    with open_store(url) as store, psycopg.connect(server.url()) as idle:
        store.append("Account-0", [said("first")], expected_version=ANY)
        idle.execute("CREATE TABLE other (n int)")  # open until the end
        disturbance = Disturbance(server.url())
        disturbance.start()
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, url, str(name), str(each)])
            for name in range(4)
        ]
        seen, position, behind = [], 1, 0
        try:
            deadline = time.monotonic() + 120 + EVENTS / 100
            while len(seen) < 4 * each and time.monotonic() < deadline:
                store.wait(position, 1.0)
                for event in store.read_all(after=position):
                    behind += event.global_position != position + 1
                    position = event.global_position
                    seen.append(event.message.value)
                if all(writer.poll() not in {None, 0} for writer in writers):
                    break
        finally:
            codes = [writer.wait(120) for writer in writers]
            disturbance.end()

        assert codes == [0] * 4
        assert behind == 0
        assert sorted(seen) == sorted(f"{name}-{n}" for name in range(4) for n in range(each))
        assert disturbance.undone > 0
        assert disturbance.ended > 0
        assert verify(store).findings == ()


@pytest.mark.promise("one-order")
def test_a_follower_goes_on_after_a_dump_was_restored_into_a_new_cluster(server, tmp_path):
    """Transaction ids begin anew there; positions do not."""
    tools = find_binaries()
    url = f"{server.url()}?schema=bank"
    with open_store(url) as store:
        for number in range(20):
            store.append("Account-1", [said(str(number))], expected_version=number)
        last = store.find_event(15)
        store.save_checkpoint("follower", position=15, event_id=str(last.event_id))
        origin = store.store_id
    dump = subprocess.run(
        [tools / "pg_dump", "--schema=bank", server.url()], capture_output=True, check=True
    )

    with PrivatePostgres(durable=False) as fresh:
        subprocess.run(
            [tools / "psql", "-q", "-v", "ON_ERROR_STOP=1", fresh.url()],
            input=dump.stdout,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        with open_store(f"{fresh.url()}?schema=bank", create=False) as store:
            place = store.find_checkpoint("follower")
            store.append("Account-1", [said("20")], expected_version=20)
            followed = list(store.read_all(after=place.position))

            assert store.store_id == origin
            assert str(store.find_event(15).event_id) == place.event_id
            assert [event.message.value for event in followed] == [str(n) for n in range(15, 21)]
            assert [event.global_position for event in followed] == list(range(16, 22))
            assert verify(store).findings == ()


def test_many_processes_that_start_at_once_make_one_store(server):
    script = "import sys; from eskit import open_store; print(open_store(sys.argv[1]).store_id)"
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", script, f"{server.url()}?schema=bank"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    said = [starter.communicate(timeout=60) for starter in starters]

    assert {starter.returncode for starter in starters} == {0}, said
    assert len({out for out, _ in said}) == 1


@pytest.mark.promise("interrupts-are-safe")
def test_an_interrupted_append_leaves_the_store_usable_and_nothing_doubled(store_url):
    """While it waits for the lock of the store, which another session has."""
    event = NewEvent(StringValue(value="interrupted"))
    with open_store(store_url) as store, psycopg.connect(store_url.partition("?")[0]) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(parse_url(store_url).schema),))
        interrupter = threading.Timer(0.5, signal.raise_signal, [signal.SIGINT])
        interrupter.start()

        with pytest.raises(KeyboardInterrupt):
            store.append("Account-1", [event], expected_version=ANY)
        interrupter.join()
        other.rollback()
        store.append("Account-1", [event], expected_version=ANY)
        store.append("Account-1", [NewEvent(StringValue(value="next"))], expected_version=ANY)

        assert [found.message.value for found in store.read_all()] == ["interrupted", "next"]
