"""Followers are woken by the server: once for each commit, and nothing is missed without it."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from psycopg import sql

from eskit import ANY, NewEvent, open_store
from eskit.postgres.url import parse_url
from eskit.store.postgres.schema import lock_key

LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query = %s AND pid <> pg_backend_pid()"


@pytest.fixture
def admin(postgres):
    with psycopg.connect(postgres, autocommit=True) as connection:
        yield connection


def named(text):
    return NewEvent(StringValue(value=text))


def wait_for(condition, within=30.0):
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def listening(url):
    """What a listener of the store said last."""
    name = f"eskit_{lock_key(parse_url(url).schema) & (2**64 - 1):016x}"
    return sql.SQL("LISTEN {}").format(sql.Identifier(name)).as_string()


def listeners(admin, url):
    return [pid for (pid,) in admin.execute(LISTENERS, (listening(url),))]


@pytest.mark.promise("one-order")
def test_a_follower_whose_listener_is_ended_again_and_again_misses_nothing(store_url, admin):
    count = 200
    seen = []
    with open_store(store_url) as reading, open_store(store_url) as writing:

        def follow():
            position = 0
            while len(seen) < count:
                reading.wait(position, 30)
                for event in reading.read_all(after=position):
                    position = event.global_position
                    seen.append(event.message.value)

        follower = threading.Thread(target=follow)
        follower.start()
        for number in range(count):
            if number % 40 == 0:
                (pid,) = wait_for(lambda: listeners(admin, store_url))
                admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
            writing.append("Account-1", [named(str(number))], expected_version=number)
        follower.join(60)

    assert seen == [str(number) for number in range(count)]


def test_all_who_wait_in_a_process_share_one_listener(store_url, admin):
    with open_store(store_url) as store:
        waiting = [threading.Thread(target=store.wait, args=(0, 30)) for _ in range(5)]
        for each in waiting:
            each.start()
        wait_for(lambda: listeners(admin, store_url))
        for each in waiting:
            assert each.is_alive()
        found = listeners(admin, store_url)
        store.append("Account-1", [named("a")], expected_version=ANY)
        for each in waiting:
            each.join(30)

    assert len(found) == 1
    assert wait_for(lambda: not listeners(admin, store_url))


def test_a_group_of_appends_is_one_notification(postgres, store_url, admin):
    """All that wait while the first holds on are the second group."""
    schema = parse_url(store_url).schema
    with open_store(store_url) as store, psycopg.connect(postgres) as other:
        store.append("Account-1", [named("first")], expected_version=ANY)
        admin.execute(listening(store_url))
        other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(schema),))
        appends = [
            store.submit(f"Account-{number}", [named("a"), named("b")], expected_version=0)
            for number in range(2, 22)
        ]
        other.rollback()
        for append in appends:
            append.result(30)
        told = [notify.payload for notify in admin.notifies(timeout=5, stop_after=1)]
        told += [notify.payload for notify in admin.notifies(timeout=1)]

    assert 1 <= len(told) <= 2
    assert told[-1] == str(1 + 2 * len(appends))
