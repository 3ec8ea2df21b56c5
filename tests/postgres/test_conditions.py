"""A server that cannot do it now: each error says what is wrong and what to do; nothing is lost."""

from __future__ import annotations

import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import psycopg
import pytest
from google.protobuf.wrappers_pb2 import BytesValue, StringValue

from eskit import ANY, NewEvent, open_store
from eskit.errors import StoreUnavailable
from eskit.operations.verifying import verify
from eskit.postgres.server import PrivatePostgres
from eskit.postgres.url import parse_url
from eskit.store.postgres.schema import lock_key


@pytest.fixture
def folder():
    """A folder that every user may enter: PostgreSQL does not run as root."""
    with TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def said(text):
    return NewEvent(StringValue(value=text))


def append(store, text):
    return store.append("Account-1", [said(text)], expected_version=ANY)


def texts(store):
    return [event.message.value for event in store.read_all()]


def with_options(url, **settings):
    """The same store, with settings that hold for its sessions as those of a role would."""
    options = quote(" ".join(f"-c {name}={value}" for name, value in settings.items()))
    return f"{url}&options={options}"


@pytest.fixture
def other(postgres):
    """A session of somebody else."""
    with psycopg.connect(postgres) as connection:
        yield connection


def lock_of(url):
    return lock_key(parse_url(url).schema)


def test_a_database_that_is_read_only_is_read_and_says_so(store_url):
    with open_store(store_url) as store:
        append(store, "a")

    with open_store(with_options(store_url, default_transaction_read_only="on")) as store:
        with pytest.raises(StoreUnavailable, match="is read-only") as refused:
            append(store, "b")
        assert texts(store) == ["a"]

    assert "Name the primary" in refused.value.hint


def test_another_search_path_changes_nothing(store_url):
    with open_store(with_options(store_url, search_path="nowhere")) as store:
        append(store, "a")
    with open_store(store_url) as store:
        assert texts(store) == ["a"]


def test_an_append_that_takes_too_long_is_cancelled_and_leaves_nothing(store_url, other):
    with open_store(with_options(store_url, statement_timeout="300ms")) as store:
        append(store, "a")
        other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_of(store_url),))

        with pytest.raises(StoreUnavailable, match="cancelled the statement") as refused:
            append(store, "b")
        other.rollback()
        append(store, "c")

        assert texts(store) == ["a", "c"]
        assert verify(store).verdict == "ok"
    assert "statement_timeout" in refused.value.hint


def test_an_append_outlasts_a_lock_timeout(store_url, other):
    """It is tried again until the table is free."""
    with open_store(with_options(store_url, lock_timeout="50ms")) as store:
        append(store, "a")
        other.execute(f"LOCK TABLE {parse_url(store_url).schema}.events IN ACCESS EXCLUSIVE MODE")
        freed = threading.Timer(1.0, other.rollback)
        freed.start()

        append(store, "b")
        freed.join()

        assert texts(store) == ["a", "b"]


def test_an_append_that_is_chosen_to_end_a_deadlock_is_done_once(store_url, other):
    """The other waits for the store's lock, and has the table for which the append waits."""
    with open_store(with_options(store_url, deadlock_timeout="200ms")) as store:
        append(store, "a")
        other.execute("SET deadlock_timeout = '60s'")
        other.execute(f"LOCK TABLE {parse_url(store_url).schema}.events IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor() as pool:
            appended = pool.submit(append, store, "b")
            waits_for_a_table(store_url)
            other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_of(store_url),))
            other.rollback()

            assert appended.result(60).version == 2

        assert texts(store) == ["a", "b"]
        assert verify(store).verdict == "ok"


def waits_for_a_table(url):
    with psycopg.connect(parse_url(url).libpq, autocommit=True) as connection:
        deadline = time.monotonic() + 60
        while True:
            (waiting,) = connection.execute(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
            ).fetchone()
            if waiting:
                return
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_server_without_a_free_connection_is_named_and_who_has_one_goes_on(folder):
    settings = {"max_connections": "12", "superuser_reserved_connections": "1"}
    with PrivatePostgres(folder / "server", durable=False, settings=settings) as server:
        url = f"{server.url()}?schema=bank"
        with open_store(url) as store:
            append(store, "a")
            taken = take_all_connections(server.url())
            try:
                with pytest.raises(StoreUnavailable, match="has too many connections") as refused:
                    open_store(url)
                append(store, "b")
                read = texts(store)
            finally:
                for connection in taken:
                    connection.close()

            assert read == ["a", "b"]
        assert "max_connections" in refused.value.hint


def take_all_connections(url):
    taken = []
    while True:
        try:
            taken.append(psycopg.connect(url))
        except psycopg.OperationalError:
            return taken


@pytest.mark.promise("appends-are-durable")
def test_a_full_disk_is_named_and_every_acknowledged_append_is_there(folder):
    """Files of the server may have so many bytes and no more."""
    limit = 24 * 1024 * 1024
    acknowledged = []
    with fewer_bytes(limit):
        server = PrivatePostgres(folder / "server").start()
    try:
        with open_store(f"{server.url()}?schema=bank") as store:

            def append_for_ever():
                while True:
                    event = NewEvent(BytesValue(value=os.urandom(300_000)))
                    done = store.append("Account-1", [event], expected_version=ANY)
                    acknowledged.append(done.version)

            with pytest.raises(StoreUnavailable, match="the disk is full") as refused:
                append_for_ever()

            assert acknowledged == list(range(1, len(acknowledged) + 1))
            assert store.stream_version("Account-1") == len(acknowledged) > 10
            assert verify(store).verdict == "ok"
        assert "Free some space" in refused.value.hint
        server.stop()
        server.start()  # without the limit

        with open_store(f"{server.url()}?schema=bank", create=False) as store:
            assert store.stream_version("Account-1") == len(acknowledged)
            assert append(store, "after").version == len(acknowledged) + 1
    finally:
        server.stop()


class fewer_bytes:  # noqa: N801 - used as a function
    """What is started in the block writes no file of more bytes than so many."""

    def __init__(self, limit):
        self._limit = limit

    def __enter__(self):
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._limit, self._before[1]))

    def __exit__(self, *exc):
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)
