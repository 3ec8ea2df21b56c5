"""Opening a store in PostgreSQL: what is refused, and what the refusal says."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import psycopg
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from eskit import ANY, NewEvent, claim, open_store
from eskit.errors import InvalidArgument, StoreDamaged, StoreError, StoreUnavailable, Unsupported
from eskit.operations.files import back_up
from eskit.postgres.url import parse_url
from eskit.store.open import locate
from eskit.store.postgres.schema import lock_key
from eskit.store.reports import no_progress
from tests.postgres.proxy import CuttingProxy


def test_a_store_that_is_not_there_is_not_made_unless_asked(store_url):
    with pytest.raises(StoreUnavailable) as refused:
        open_store(store_url, create=False)

    assert "There is no store" in refused.value.message
    assert not locate(store_url).exists()
    open_store(store_url).close()
    assert locate(store_url).exists()


def test_a_server_that_is_down_is_named_without_the_password():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    with pytest.raises(StoreUnavailable) as refused:
        open_store(f"postgresql://eskit:secret@127.0.0.1:{port}/bank")

    assert "cannot be reached" in refused.value.message
    assert "secret" not in f"{refused.value.message} {refused.value.hint}"


def test_a_wrong_password_and_a_database_that_is_not_there_are_told_apart(postgres):
    parts = urlsplit(postgres)
    wrong = parts._replace(netloc=f"eskit:guess@{parts.hostname}:{parts.port}").geturl()
    elsewhere = parts._replace(path="/nowhere").geturl()

    with pytest.raises(StoreUnavailable) as guessed:
        open_store(wrong)
    with pytest.raises(StoreUnavailable) as lost:
        open_store(elsewhere)

    assert "password" in guessed.value.message
    assert "guess" not in guessed.value.message
    assert "nowhere" in lost.value.message


def test_options_of_libpq_pass_and_others_are_refused_with_the_nearest():
    url = parse_url("postgresql://h/db?schema=bank&sslmode=require&application_name=x")

    with pytest.raises(InvalidArgument) as refused:
        parse_url("postgresql://h/db?shcema=bank")

    assert (url.schema, url.libpq) == (
        "bank",
        "postgresql://h/db?sslmode=require&application_name=x",
    )
    assert "schema" in refused.value.hint


def test_a_url_without_a_host_leaves_it_to_libpq():
    url = parse_url("postgresql:///bank?schema=x&sslmode=require")

    assert url.libpq == "postgresql:///bank?sslmode=require"
    assert url.shown == "postgresql:///bank?schema=x&sslmode=require"
    assert parse_url("postgresql:///?schema=x").libpq == "postgresql:///"


def test_passwords_are_not_shown_wherever_they_stand():
    url = parse_url("postgresql://ann:s3cret@h/db?sslpassword=s3cret&schema=bank")

    assert "s3cret" not in url.shown
    assert url.shown.startswith("postgresql://ann:***@h/db?")
    assert "s3cret" in url.libpq


def test_another_isolation_level_or_search_path_as_default_changes_nothing(postgres, store_url):
    """Under REPEATABLE READ a call would number events by a snapshot from before its lock."""
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(
            "ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'repeatable read'"
        )
        admin.execute("ALTER ROLE CURRENT_USER SET search_path = 'nowhere'")
        try:
            script = (
                "import sys\n"
                "from google.protobuf.wrappers_pb2 import StringValue\n"
                "from eskit import ANY, NewEvent, claim, open_store\n"
                "with open_store(sys.argv[1]) as store:\n"
                "    for n in range(60):\n"
                "        event = NewEvent(StringValue(value=str(n)))\n"
                "        store.append(f'Account-{sys.argv[2]}', [event], expected_version=n)\n"
            )
            open_store(store_url).close()
            writers = [
                subprocess.Popen([sys.executable, "-c", script, store_url, str(n)])
                for n in range(3)
            ]
            codes = [writer.wait(60) for writer in writers]
        finally:
            admin.execute("ALTER ROLE CURRENT_USER RESET default_transaction_isolation")
            admin.execute("ALTER ROLE CURRENT_USER RESET search_path")

    assert codes == [0, 0, 0]
    with open_store(store_url) as store:
        assert store.head_position() == 180


def test_a_store_of_a_newer_eskit_is_refused(postgres, store_url):
    open_store(store_url).close()
    schema = parse_url(store_url).schema
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"SET search_path = {schema}")
        admin.execute("UPDATE store SET value = '99' WHERE key = 'version'")

    with pytest.raises(StoreError) as refused:
        open_store(store_url)

    assert refused.value.code == "SCHEMA_TOO_NEW"


def test_a_table_that_was_dropped_is_told_of(postgres, store_url):
    schema = parse_url(store_url).schema
    with open_store(store_url) as store:
        store.append("Account-1", [NewEvent(StringValue(value="a"))], expected_version=ANY)
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(f"DROP TABLE {schema}.events")

        with pytest.raises(StoreDamaged) as refused:
            store.append("Account-1", [NewEvent(StringValue(value="b"))], expected_version=ANY)

    assert refused.value.code == "STORE_NOT_RECOGNISED"


def test_a_nul_in_a_text_is_refused_and_harms_nobody(store_url):
    with open_store(store_url) as store:
        with pytest.raises(InvalidArgument):
            store.append(
                "Account-1",
                [NewEvent(StringValue(value="a"), claims=[claim("email", "a\0b")])],
                expected_version=ANY,
            )
        store.append("Account-1", [NewEvent(StringValue(value="\0"))], expected_version=ANY)

        assert [event.message.value for event in store.read_all()] == ["\0"]


def test_what_no_message_to_the_server_holds_is_refused_and_splits_a_group(
    postgres, store_url, monkeypatch
):
    """The server would end the session. The real limit takes more memory than tests have."""
    monkeypatch.setattr("eskit.store.postgres.append._MOST_BYTES", 10_000)
    small, large = StringValue(value="x" * 2_000), StringValue(value="x" * 20_000)
    with open_store(store_url) as store, psycopg.connect(postgres) as other:
        with pytest.raises(InvalidArgument) as refused:
            store.append("Account-1", [NewEvent(large)], expected_version=ANY)
        other.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(parse_url(store_url).schema),))
        appends = [
            store.submit(f"Account-{number}", [NewEvent(small)], expected_version=0)
            for number in range(10)
        ]
        other.rollback()

        assert sorted(append.result(30).global_position for append in appends) == list(range(1, 11))
    assert "Too large for PostgreSQL" in refused.value.message


def test_what_belongs_to_postgresql_itself_is_refused_with_its_tool(store_url, tmp_path):
    with open_store(store_url) as store, pytest.raises(Unsupported) as refused:
        back_up(store, tmp_path / "copy.db", progress=no_progress)

    assert "pg_dump" in refused.value.hint


@pytest.mark.parametrize(
    ("says", "engine"),
    [
        ("CockroachDB 25.2", "CockroachDB"),
        ("PostgreSQL-YB-2", "YB"),
        ("Aurora DSQL 1", "Aurora DSQL"),
    ],
)
def test_an_engine_that_cannot_keep_the_order_is_refused_with_the_reason(store_url, says, engine):
    """A server as real as it gets here, but for what it calls itself."""

    def calls_itself(said):
        name = rb"PostgreSQL \d\S* on \S+"
        return re.sub(name, lambda found: says.encode().ljust(len(found[0])), said)

    port = urlsplit(store_url).port
    with CuttingProxy(port, calls_itself) as proxy, pytest.raises(StoreUnavailable) as refused:
        open_store(store_url.replace(f":{port}/", f":{proxy.port}/"))

    assert f"is {engine}, which cannot keep eskit's order: " in refused.value.message
    assert refused.value.hint == "Use PostgreSQL 15 or newer."


def test_a_server_whose_locks_do_not_lock_is_refused(store_url):
    """As those of CockroachDB did not for years."""

    def gives_it_to_both(said):
        row = rb"(?s)(pg_try_advisory_xact_lock.*D\0\0\0\x0b\0\x01\0\0\0\x01)f"
        return re.sub(row, rb"\1t", said)

    port = urlsplit(store_url).port
    with CuttingProxy(port, gives_it_to_both) as proxy, pytest.raises(StoreUnavailable) as refused:
        open_store(store_url.replace(f":{port}/", f":{proxy.port}/"))

    assert "got past a lock" in refused.value.message


def test_a_database_in_another_encoding_is_refused(postgres, store_url):
    name = f"ascii_{parse_url(store_url).schema}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
        try:
            with pytest.raises(StoreUnavailable) as refused:
                open_store(urlsplit(store_url)._replace(path=f"/{name}").geturl())
        finally:
            admin.execute(f"DROP DATABASE {name}")

    assert "has the encoding SQL_ASCII" in refused.value.message
    assert "UTF8" in refused.value.hint


def test_the_settings_that_durability_hangs_on_are_read_back(postgres, store_url):
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = 'off'")
        try:
            with open_store(store_url) as store:
                settings = store.info().settings
        finally:
            admin.execute("ALTER ROLE CURRENT_USER RESET synchronous_commit")

    assert settings["synchronous_commit"] == "off"
    assert (settings["server"], settings["pooler"]) == ("primary", "no")
