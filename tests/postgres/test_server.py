"""A PostgreSQL server of one's own: it starts, keeps others out, and never outlives its process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from eskit.errors import ServiceError
from eskit.postgres.server import PrivatePostgres
from eskit.processes.identity import process_start

PARENT = """
import sys, time
from eskit.errors import ServiceError
from eskit.postgres.server import PrivatePostgres
server = PrivatePostgres(durable=False).start()
print(server.pid, server.folder, flush=True)
time.sleep(60)
"""


def eventually(condition, within=15.0):
    deadline = time.monotonic() + within
    while time.monotonic() < deadline and not condition():
        time.sleep(0.05)
    return condition()


def test_a_started_server_answers_and_a_stopped_one_leaves_nothing():
    server = PrivatePostgres(durable=False).start()
    with psycopg.connect(server.url()) as connection:
        answer = connection.execute("SELECT 1").fetchone()
    url, pid, folder = server.url(), server.pid, server.folder

    server.stop()

    assert answer == (1,)
    assert process_start(pid) is None
    assert not folder.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url, connect_timeout=2)


def test_nobody_gets_in_without_the_password():
    with PrivatePostgres(durable=False) as server:
        url = server.url()
        wrong = url.replace(url.partition("://")[2].partition("@")[0], "eskit:guess")

        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)


@pytest.fixture
def folder():
    """A folder that every user may enter: PostgreSQL does not run as root."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def test_a_folder_keeps_its_databases(folder):
    kept = folder / "kept"
    with (
        PrivatePostgres(kept, durable=False) as server,
        psycopg.connect(server.url()) as connection,
    ):
        connection.execute("CREATE TABLE t AS SELECT 42 AS n")

    with (
        PrivatePostgres(kept, durable=False) as server,
        psycopg.connect(server.url()) as connection,
    ):
        found = connection.execute("SELECT n FROM t").fetchone()

    assert found == (42,)
    assert ((kept / "password").stat().st_mode & 0o777) == 0o600


def test_a_server_that_was_killed_starts_again_with_what_it_had(folder):
    server = PrivatePostgres(folder / "kept").start()
    with psycopg.connect(server.url()) as connection:
        connection.execute("CREATE TABLE t AS SELECT 42 AS n")
    pid = server.pid
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: process_start(pid) is None)

    server.start()
    with psycopg.connect(server.url()) as connection:
        found = connection.execute("SELECT n FROM t").fetchone()
    server.stop()

    assert found == (42,)


def test_the_server_ends_with_a_parent_that_is_killed():
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    pid, folder = parent.stdout.readline().split()

    parent.send_signal(signal.SIGKILL)
    parent.wait()

    assert eventually(lambda: process_start(int(pid)) is None)
    assert eventually(lambda: not Path(folder).exists())
    parent.stdout.close()


def test_a_pid_file_of_a_server_that_was_killed_is_out_of_date_whoever_has_the_pid_now(folder):
    kept = folder / "kept"
    with PrivatePostgres(kept, durable=False) as server:
        status = (kept / "data" / "postmaster.pid").read_text(encoding="utf-8")
        pid = str(server.pid)
    assert status.startswith(f"{pid}\n")
    (kept / "data" / "postmaster.pid").write_text(status.replace(pid, str(os.getpid()), 1))

    with (
        PrivatePostgres(kept, durable=False) as server,
        psycopg.connect(server.url()) as connection,
    ):
        answer = connection.execute("SELECT 1").fetchone()

    assert answer == (1,)


def test_two_servers_do_not_share_a_folder_and_the_first_goes_on(folder):
    kept = folder / "kept"
    with PrivatePostgres(kept, durable=False) as first:
        with pytest.raises(ServiceError, match="Another process runs") as refused:
            PrivatePostgres(kept, durable=False).start()
        with psycopg.connect(first.url()) as connection:
            answer = connection.execute("SELECT 1").fetchone()

    assert answer == (1,)
    assert refused.value.hint


def test_a_server_takes_the_port_it_had_and_another_one_where_that_is_taken(folder):
    kept = folder / "kept"
    with PrivatePostgres(kept, durable=False) as server:
        port = urlsplit(server.url()).port
    with PrivatePostgres(kept, durable=False) as server:
        assert urlsplit(server.url()).port == port

    with (
        socket.create_server(("127.0.0.1", port)),
        PrivatePostgres(kept, durable=False) as server,
        psycopg.connect(server.url()) as connection,
    ):
        assert urlsplit(server.url()).port != port
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_what_initdb_had_when_it_was_killed_is_made_again(folder):
    kept = folder / "kept"
    (kept / "data.new" / "base").mkdir(parents=True)
    (kept / "data.new" / "PG_VERSION").write_text("18\n")
    (kept / "password").write_text("old")

    with (
        PrivatePostgres(kept, durable=False) as server,
        psycopg.connect(server.url()) as connection,
    ):
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_has_ended_is_not_healthy_and_starts_again(folder):
    with PrivatePostgres(folder / "kept") as server:
        server.check_health()
        os.kill(server.pid, signal.SIGKILL)

        assert eventually(lambda: not server.running)
        with pytest.raises(ServiceError, match="has ended"):
            server.check_health()
        server.start()
        server.check_health()
