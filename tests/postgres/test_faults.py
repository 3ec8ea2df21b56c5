"""PostgreSQL goes away at the worst moments: nothing acknowledged is lost, doubled or half."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
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
from eskit.postgres.server import PrivatePostgres
from eskit.postgres.url import parse_url
from eskit.processes.identity import process_start
from eskit.store.open import open_store
from eskit.store.postgres.schema import lock_key
from tests.postgres.proxy import CuttingProxy

ROUNDS = int(os.environ.get("ESKIT_POSTGRES_ROUNDS", "30"))


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
        for kill in range(1, max(ROUNDS // 10, 1) + 1):
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
        for kill in range(1, max(ROUNDS // 10, 1) + 1):
            writers.wait_for(kill * 50)
            pid = server.pid
            os.kill(pid, signal.SIGKILL)
            while process_start(pid) is not None:
                time.sleep(0.02)
            server.start()
            writers.wait_for(kill * 50 + 20)
        writers.__exit__()

        check(store, writers)


@pytest.mark.promise("errors-are-not-shared")
def test_connections_that_are_cut_anywhere_cost_no_append(server):
    """Also where the server commits what the client has no answer to."""
    dice = random.Random(20)
    url = server.url()
    parts = urlsplit(url)
    with CuttingProxy(parts.port) as proxy:
        cut = url.replace(f":{parts.port}/", f":{proxy.port}/")
        with open_store(f"{cut}?schema=bank") as store, Writers(store) as writers:
            for round_ in range(1, ROUNDS + 1):
                proxy.cut_after(dice.randrange(1, 3_000))
                writers.wait_for(round_ * 6)
            writers.__exit__()

            check(store, writers)
        assert proxy.cuts >= ROUNDS // 2


WRITER = """
import sys
from google.protobuf.wrappers_pb2 import StringValue
from eskit import ANY, NewEvent, open_store
url, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open_store(url) as store:
    for number in range(count):
        event = NewEvent(StringValue(value=f"{name}-{number}"))
        store.append(f"Account-{name}-{number % 7}", [event], expected_version=ANY)
"""


@pytest.mark.promise("one-order")
def test_a_follower_misses_nothing_that_four_processes_append(server):
    """Beside transactions that are rolled back, one that is open all the time, and a killed one."""
    url, each = f"{server.url()}?schema=bank", 400
    with open_store(url) as store, psycopg.connect(server.url()) as idle:
        idle.execute("CREATE TABLE other (n int)")  # open until the end
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, url, str(name), str(each)])
            for name in range(4)
        ]
        seen, position = [], 0
        try:
            deadline = time.monotonic() + 120
            while len(seen) < 4 * each and time.monotonic() < deadline:
                store.wait(position, 1.0)
                for event in store.read_all(after=position):
                    position = event.global_position
                    seen.append(event.message.value)
        finally:
            codes = [writer.wait(60) for writer in writers]

        assert codes == [0] * 4
        assert sorted(seen) == sorted(f"{name}-{n}" for name in range(4) for n in range(each))
        assert [event.message.value for event in store.read_all()] == seen


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
