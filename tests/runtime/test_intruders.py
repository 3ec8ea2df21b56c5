"""The embedded server and other users of the machine: they neither read, send nor forge."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from eskit.errors import BrokerUnavailable
from eskit.nats.connection import connected, open_nats
from eskit.nats.login import Token
from eskit.nats.server import (
    ANNOUNCEMENT,
    AnnouncedLogin,
    EmbeddedNats,
    find_announced,
    without_login,
)
from tests.support.coded import coded

as_another = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")

INTRUDER = """
import asyncio, os, sys
import nats  # before: the other user may not be able to import anything
os.setgroups([]); os.setgid(65534); os.setuid(65534)

async def main():
    def login():
        try:
            return open(sys.argv[2]).read()
        except OSError as error:
            print("the announcement:", type(error).__name__)
        return ""
    try:
        connection = await nats.connect(
            sys.argv[1], token=login() or None, allow_reconnect=False, connect_timeout=5
        )
    except Exception as error:
        print("the server:", error)
        return
    await connection.publish("bank.events.Account.forged", b"forged")
    await connection.flush()
    print("in")

asyncio.run(main())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder into which everybody may look, as a project's often is."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o755)
    return tmp_path


@pytest.fixture
def server(project: Path) -> Iterator[EmbeddedNats]:
    with EmbeddedNats(project / ".eskit" / "nats") as server:
        server.announce(project)
        yield server


@as_another
@pytest.mark.promise("embedded-nats-is-private")
def test_another_user_is_not_let_in(project: Path, server: EmbeddedNats) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", INTRUDER, server.address, str(project / ANNOUNCEMENT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ran.stdout.splitlines() == [
        "the announcement: PermissionError",
        "the server: nats: 'Authorization Violation'",
    ], ran.stderr


@as_another
@pytest.mark.promise("embedded-nats-is-private")
def test_another_user_reads_nothing_of_what_the_server_keeps(
    project: Path, server: EmbeddedNats
) -> None:
    async def keep() -> None:
        async with connected(server.url) as connection:
            await connection.jetstream().add_stream(name="KEPT", subjects=["kept"])
            await connection.jetstream().publish("kept", b"a secret payload")

    asyncio.run(keep())
    looking = f"grep -rls 'a secret payload' {project} {server.folder}; ls {server.folder}"
    ran = subprocess.run(
        ["/bin/sh", "-c", looking], capture_output=True, text=True, user=65534, check=False
    )

    assert ran.stdout == ""
    assert list(project.rglob("*.blk"))


@pytest.mark.promise("embedded-nats-is-private")
def test_the_login_stands_in_no_command_line(server: EmbeddedNats) -> None:
    token = urlsplit(server.url).username or ""
    listed = subprocess.check_output(["/bin/ps", "axww", "-o", "args"], text=True)

    assert "nats-server" in listed
    assert len(token) > 30
    assert token not in listed


def test_the_announcement_is_for_this_user_only(project: Path, server: EmbeddedNats) -> None:
    assert stat.S_IMODE((project / ANNOUNCEMENT).stat().st_mode) == 0o600
    assert find_announced(project) == server.url


async def test_the_login_is_another_after_every_start() -> None:
    with EmbeddedNats() as server:
        before, port = server.url, urlsplit(server.url).port
        server.stop()
        server.start()

        with pytest.raises(BrokerUnavailable, check=coded("BROKER_REFUSED")):
            async with connected(before):
                pass
        async with connected(server.url) as connection:
            assert connection.is_connected

        assert urlsplit(server.url).port == port


async def test_a_connection_logs_in_again_after_the_server_was_restarted(project: Path) -> None:
    server = EmbeddedNats(project / ".eskit" / "nats").start()
    server.announce(project)
    login = AnnouncedLogin(project, server.url)
    connection = await open_nats(without_login(server.url), credentials=login)
    reconnects = connection.stats["reconnects"]

    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    server.announce(project)
    async with asyncio.timeout(30):
        while connection.stats["reconnects"] == reconnects:  # noqa: ASYNC110 - by nats-py
            await asyncio.sleep(0.02)
        await connection.flush()
    await connection.close()
    await asyncio.to_thread(server.stop)


@pytest.mark.promise("embedded-nats-is-private")
async def test_who_listens_where_the_server_was_before_is_not_told_the_login(
    project: Path,
) -> None:
    """What remains to another user is the port: he may take it while no server runs."""
    with EmbeddedNats() as server:
        server.announce(project)
        before = AnnouncedLogin(project, "nats://127.0.0.1:1")
        now = AnnouncedLogin(project, f"nats://localhost:{urlsplit(server.url).port}")

        assert before.find() is None
        assert now.find() == Token(urlsplit(server.url).username or "")


async def test_a_port_that_somebody_has_taken_meanwhile_is_left_to_him(project: Path) -> None:
    with EmbeddedNats() as first:
        first.announce(project)
        port = urlsplit(first.url).port or 0
    taken = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", port)

    async with taken:
        with EmbeddedNats(likely_port=port) as second:
            elsewhere = urlsplit(second.url).port

    with EmbeddedNats(likely_port=port) as third:
        assert urlsplit(third.url).port == port
    assert elsewhere != port
