"""Locks over all hosts: one holder, the next one when it dies, freezes or vanishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from eskit.clock import SystemClock
from eskit.errors import StoreUnavailable
from eskit.postgres.connection import connect
from eskit.postgres.errors import translated
from eskit.postgres.lock import SILENCE, LockSession, holders_script
from eskit.postgres.pool import Pool
from eskit.postgres.url import parse_url
from eskit.processes.holding import Holder, find_holder
from eskit.store.open import open_store
from tests.postgres.proxy import CuttingProxy

PATIENCE = 60


@pytest.fixture
def url(store_url):
    """A schema with the table of notes, and one to write in."""
    schema = parse_url(store_url).schema
    with connect(parse_url(store_url)) as admin:
        admin.execute(f"CREATE SCHEMA {schema}")
        admin.execute(holders_script())
        admin.execute("CREATE TABLE written (text text)")
    return store_url


@contextmanager
def a_session(url, through=None):
    """A session with locks, and a pool beside it; `through` is the port that the session uses."""
    direct = parse_url(url)
    port = urlsplit(url).port
    mine = parse_url(url.replace(f":{port}/", f":{through}/")) if through else direct
    with closing(Pool(lambda: connect(direct), 2)) as pool:
        session = LockSession(
            lambda: connect(mine),
            pool,
            schema=direct.schema,
            translated=lambda: translated(direct.shown),
        )
        with closing(session):
            yield session


@pytest.fixture
def session(url):
    with a_session(url) as session:
        yield session


HOLDER = """
import sys
import socket
from tests.postgres.test_lock import Holder, a_session
socket.gethostname = lambda: "another-host"
url, inside = sys.argv[1], sys.argv[2] == "inside"
with a_session(url) as session:
    lock = session.lock("relay")
    assert lock.acquire()
    lock.write(Holder.here(since=1.0).note)
    connection = lock.connection
    if inside:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO written VALUES ('before')")
    print("held", flush=True)
    sys.stdin.readline()
    held = lock.is_held()
    lock.write(Holder.here(since=2.0).note)
    try:
        connection.execute("COMMIT" if inside else "INSERT INTO written VALUES ('after')")
        lock.connection.execute("INSERT INTO written VALUES ('later')")
    except Exception as error:
        print(held, type(error).__name__, flush=True)
    else:
        print(held, "wrote", flush=True)
"""


@contextmanager
def a_holder(url, *, inside=False):
    """A process of another host that has the lock, perhaps inside a transaction."""
    arguments = [sys.executable, "-c", HOLDER, url, "inside" if inside else "outside"]
    process = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def written(url):
    with connect(parse_url(url)) as connection:
        return [text for (text,) in connection.execute("SELECT text FROM written").fetchall()]


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_one_session_at_a_time_has_a_lock_and_others_read_its_note(url, session):
    lock = session.lock("relay")
    with a_session(url) as others:
        other = others.lock("relay")
        assert other.find_note() is None

        assert lock.acquire()
        assert lock.acquire()
        unknown = find_holder(other)
        lock.write(Holder.here(since=1.0).note)
        known = find_holder(other)
        refused = other.acquire(patience=0.2)
        elsewhere = others.lock("reaction").acquire()
        lock.release()
        lock.release()

        assert unknown.pid == 0
        assert (known.pid, known.since, known.is_here) == (os.getpid(), 1.0, True)
        assert (refused, elsewhere) == (False, True)
        assert other.acquire()
        assert not lock.is_held()
        assert find_holder(lock).pid == 0


def test_two_of_one_session_do_not_both_have_a_lock(session):
    first, second = session.lock("relay"), session.lock("relay")

    assert first.acquire()
    assert not second.acquire()
    first.release()
    assert second.acquire()
    assert not first.is_held()


def test_schemas_and_names_have_locks_of_their_own(url, session, postgres):
    mark = "&" if "?" in postgres else "?"
    other = f"{postgres}{mark}schema={parse_url(url).schema}_2"
    assert session.lock("relay").acquire()

    with a_session(other) as another:
        with connect(parse_url(other)) as admin:
            admin.execute(f"CREATE SCHEMA {parse_url(other).schema}")
            admin.execute(holders_script())
        assert another.lock("relay").acquire()
    assert session.lock("Relay").acquire()


@pytest.mark.promise("one-holder-over-hosts")
def test_the_lock_of_a_killed_process_is_free(url, session):
    lock = session.lock("relay")
    with a_holder(url) as process:
        named = find_holder(lock)
        assert not lock.acquire()

        process.kill()

        assert lock.acquire(patience=PATIENCE)
    assert (named.pid, named.host) == (process.pid, "another-host")
    assert named.text == f"process {process.pid} on another-host"


@pytest.mark.promise("one-holder-over-hosts")
@pytest.mark.parametrize("inside", [False, True])
def test_a_frozen_process_loses_its_lock_and_writes_nothing_when_it_wakes(url, session, inside):
    lock = session.lock("relay")
    with a_holder(url, inside=inside) as process:
        process.send_signal(signal.SIGSTOP)
        assert lock.acquire(patience=PATIENCE)
        lock.write(Holder.here(since=3.0).note)

        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate("\n", timeout=PATIENCE)

        assert said.split()[0] == "False"
        assert "Error" in said or "Unavailable" in said
        assert find_holder(lock).since == 3.0
    assert lock.is_held()
    assert written(url) == []


@pytest.mark.promise("one-holder-over-hosts")
def test_a_holder_whose_session_is_terminated_has_lost_its_lock(url, session):
    lock = session.lock("relay")
    assert lock.acquire()
    with connect(parse_url(url)) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (lock.connection.info.backend_pid,))

    until(lambda: not lock.is_held())

    with pytest.raises(StoreUnavailable, match="was lost"):
        _ = lock.connection
    lock.write("nothing")
    assert lock.find_note() is None
    assert lock.acquire(patience=PATIENCE)
    assert lock.is_held()


@pytest.mark.promise("one-holder-over-hosts")
def test_a_place_is_not_saved_under_a_lock_that_was_lost(store_url):
    with open_store(store_url) as store, connect(parse_url(store_url)) as admin:
        lock = store.lock("relay")
        assert lock.acquire()
        store.save_checkpoint("relay", position=2, event_id="b", under=lock)
        connection = lock.connection
        admin.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))

        with pytest.raises(StoreUnavailable):  # also before the holder has noticed
            store.save_checkpoint("relay", position=1, event_id="a", under=lock)
        until(lambda: not lock.is_held())
        with pytest.raises(StoreUnavailable, match="was lost"):
            store.save_checkpoint("relay", position=1, event_id="a", under=lock)

        assert store.find_checkpoint("relay").position == 2


def test_places_are_dated_by_the_clock_of_the_server(store_url, monkeypatch):
    """That of this host is an hour fast."""
    with open_store(store_url) as store, connect(parse_url(store_url)) as admin:
        fast = time.time_ns() // 1000 + 3_600_000_000
        monkeypatch.setattr(SystemClock, "microseconds", lambda _: fast)

        store.save_record("follower", "welcome", "{}", expected_revision=0)
        store.save_checkpoint("relay", position=1, event_id="a")
        (now,) = admin.execute("SELECT clock_timestamp()").fetchone()

        record = store.find_record("follower", "welcome")
        assert record.updated_at <= store.find_checkpoint("relay").updated_at <= now <= store.now


@pytest.mark.promise("one-holder-over-hosts")
def test_a_holder_that_the_network_has_cut_off_loses_its_lock_on_both_sides(url, session):
    """Nothing that it sends arrives, and no connection is closed."""
    with CuttingProxy(urlsplit(url).port) as proxy, a_session(url, proxy.port) as cut_off:
        mine, other = cut_off.lock("relay"), session.lock("relay")
        assert mine.acquire()

        proxy.fall_silent()

        assert other.acquire(patience=PATIENCE)
        until(lambda: not mine.is_held())


@pytest.mark.parametrize("failed", [False, True])
def test_a_lock_is_kept_while_a_handler_works_in_a_transaction(url, session, failed):
    lock = session.lock("run counts")
    assert lock.acquire()
    connection = lock.connection

    connection.execute("BEGIN")
    connection.execute("INSERT INTO written VALUES ('a')")
    if failed:
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT 1 / 0")
    time.sleep(1.5 * SILENCE)  # longer than the server waits for a word
    connection.execute("COMMIT")

    assert lock.is_held()
    assert written(url) == ([] if failed else ["a"])


def test_a_lock_is_kept_while_a_statement_takes_its_time(session):
    lock = session.lock("run counts")
    assert lock.acquire()

    lock.connection.execute("SELECT pg_sleep(%s)", (1.5 * SILENCE,))

    assert lock.is_held()
