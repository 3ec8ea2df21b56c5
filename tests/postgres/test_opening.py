"""Opening a store in PostgreSQL: what is refused, and what the refusal says."""

from __future__ import annotations

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
from eskit.store.reports import no_progress


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


def test_passwords_are_not_shown_wherever_they_stand():
    url = parse_url("postgresql://ann:s3cret@h/db?sslpassword=s3cret&schema=bank")

    assert "s3cret" not in url.shown
    assert url.shown.startswith("postgresql://ann:***@h/db?")
    assert "s3cret" in url.libpq


def test_another_isolation_level_as_default_changes_nothing(postgres, store_url):
    """Under REPEATABLE READ a call would number events by a snapshot from before its lock."""
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'serializable'")
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


def test_what_belongs_to_postgresql_itself_is_refused_with_its_tool(store_url, tmp_path):
    with open_store(store_url) as store, pytest.raises(Unsupported) as refused:
        back_up(store, tmp_path / "copy.db", progress=no_progress)

    assert "pg_dump" in refused.value.hint
