"""A store behind pgbouncer in transaction mode: no session is its own, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
import threading

import psycopg
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, NewEvent, claim, open_store
from eskit.errors import InvalidArgument, Unsupported
from eskit.postgres.connection import connect
from eskit.postgres.url import parse_url
from tests.postgres.test_faults import WRITER, Writers, check
from tests.support.pgbouncer import needs_pgbouncer, pooled

pytestmark = needs_pgbouncer


def named(text):
    return NewEvent(StringValue(value=text))


def test_a_pooler_is_noticed_and_shown(store_url, pooled_store_url):
    with open_store(store_url) as direct, open_store(pooled_store_url) as store:
        assert direct.info().settings["pooler"] == "no"
        assert store.info().settings["pooler"] == "yes"


@pytest.mark.promise("one-order")
def test_processes_append_in_one_order_whatever_the_sessions_are_set_to(postgres, pooled_store_url):
    """Under REPEATABLE READ a call would number events by a snapshot from before its lock."""
    each = 60
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(
            "ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'repeatable read'"
        )
        admin.execute("ALTER ROLE CURRENT_USER SET search_path = 'pg_catalog'")
        try:
            # A pooler of its own, whose sessions begin with these settings.
            with pooled(postgres, sessions=4) as fresh:
                url = f"{fresh}?{pooled_store_url.partition('?')[2]}"
                with open_store(url) as store:
                    writers = [
                        subprocess.Popen([sys.executable, "-c", WRITER, url, str(name), str(each)])
                        for name in range(3)
                    ]
                    codes = [writer.wait(60) for writer in writers]
                    seen = [event.message.value for event in store.read_all()]
        finally:
            admin.execute("ALTER ROLE CURRENT_USER RESET default_transaction_isolation")
            admin.execute("ALTER ROLE CURRENT_USER RESET search_path")

    assert codes == [0, 0, 0]
    assert sorted(seen) == sorted(f"{name}-{n}" for name in range(3) for n in range(each))


def test_the_store_leaves_no_setting_in_the_sessions_of_others(postgres):
    with pooled(postgres, sessions=1) as pooler, psycopg.connect(pooler, autocommit=True) as other:
        before = settings(other)
        connection = connect(parse_url(f"{pooler}?schema=bank"))
        with connection.in_schema():
            path = connection.execute("SHOW search_path")
        with connection.transaction():
            connection.execute("SELECT 1")
        connection.close()

        assert path.fetchone() == ("bank, pg_temp",)
        assert settings(other) == before


def settings(connection):
    rows = connection.execute(
        "SELECT name, setting FROM pg_settings"
        " WHERE name IN ('search_path', 'default_transaction_isolation', 'tcp_keepalives_idle')"
    )
    return sorted(rows)


def test_appends_of_others_are_noticed_by_looking(postgres, pooled_store_url):
    direct = f"{postgres}?{pooled_store_url.partition('?')[2]}"
    before = set(threading.enumerate())
    with open_store(pooled_store_url) as store, open_store(direct) as other:
        late = threading.Timer(0.3, lambda: other.append("A-1", [named("a")], expected_version=ANY))
        late.start()

        assert store.wait(0, 30)
        late.join()
        begun = set(threading.enumerate()) - before
        assert not any(thread.name == "eskit-listener" for thread in begun)


def test_an_append_that_is_refused_leaves_the_connection_usable(pooled_store_url):
    with open_store(pooled_store_url) as store:
        bad = NewEvent(StringValue(value="a"), claims=[claim("email", "a\0b")])
        with pytest.raises(InvalidArgument):
            store.append("Account-1", [bad], expected_version=ANY)
        store.append("Account-1", [named("b")], expected_version=ANY)

        assert [event.message.value for event in store.read_all()] == ["b"]


@pytest.mark.promise("appends-are-durable")
def test_terminated_sessions_behind_the_pooler_cost_no_append(postgres, pooled_store_url):
    with (
        open_store(pooled_store_url) as store,
        Writers(store) as writers,
        psycopg.connect(postgres, autocommit=True) as admin,
    ):
        for kill in range(1, 16):
            writers.wait_for(kill * 5)
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'eskit' AND pid <> pg_backend_pid()"
            )
        writers.__exit__()

        check(store, writers)


def test_no_lock_is_held_through_a_pooler(pooled_store_url):
    with open_store(pooled_store_url) as store, pytest.raises(Unsupported) as refused:
        store.lock("relay").acquire()

    assert "pooler" in refused.value.message
    assert refused.value.hint.startswith("Name the PostgreSQL server itself")
