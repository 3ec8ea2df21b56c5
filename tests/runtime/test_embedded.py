"""The embedded nats-server: it starts fast, is found, and never outlives its process."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from eskit.errors import ServiceError
from eskit.nats.server import ANNOUNCEMENT, EmbeddedNats, find_announced
from eskit.processes.identity import process_start

PARENT = """
import sys, time
from eskit.nats.server import EmbeddedNats
server = EmbeddedNats().start()
print(server.pid, server.supervisor_pid, server.folder, flush=True)
time.sleep(60)
"""


def is_reachable(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname, parts.port), 1) as connection:
            return connection.recv(4) == b"INFO"
    except OSError:
        return False


def eventually(condition: Callable[[], bool], within: float = 8.0) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def start_parent() -> tuple[subprocess.Popen[str], int, int, Path]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        server, supervisor, folder = parent.stdout.readline().split()
    return parent, int(server), int(supervisor), Path(folder)


def test_a_started_server_accepts_connections_and_a_stopped_one_leaves_nothing() -> None:
    server = EmbeddedNats()

    server.start()
    url, pid, folder = server.url, server.pid, server.folder
    assert is_reachable(url)
    server.stop()

    assert not is_reachable(url)
    assert process_start(pid) is None
    assert folder is not None
    assert not folder.exists()


def test_starting_and_stopping_twice_is_harmless() -> None:
    server = EmbeddedNats()

    first = server.start().url
    assert server.start().url == first
    server.stop()
    server.stop()

    assert not server.running


def test_two_servers_run_side_by_side_on_ports_of_their_own() -> None:
    """Nothing is shared by default, neither port nor folder."""
    with EmbeddedNats() as one, EmbeddedNats() as two:
        assert one.url != two.url
        assert is_reachable(one.url)
        assert is_reachable(two.url)


def test_the_url_of_a_stopped_server_is_an_error() -> None:
    with pytest.raises(ServiceError, match="not running"):
        _ = EmbeddedNats().url


def test_a_port_in_use_is_a_clear_error_that_leaves_nothing_running() -> None:
    """A server that is not ready is ended."""
    with EmbeddedNats() as first:
        second = EmbeddedNats(port=urlsplit(first.url).port or 0)

        with pytest.raises(ServiceError, match="did not start"):
            second.start()

        assert not second.running


def test_a_binary_that_cannot_run_is_a_clear_error() -> None:
    with pytest.raises(ServiceError, match="Cannot run /nowhere/nats-server"):
        EmbeddedNats(server="/nowhere/nats-server").start()


def test_the_log_can_be_kept(tmp_path: Path) -> None:
    log = tmp_path / "nats.log"

    with EmbeddedNats(log_file=log) as server:
        pid = server.pid

    text = log.read_text()
    assert f"[{pid}]" in text
    assert "Server is ready" in text


def test_a_server_that_was_killed_is_not_healthy_and_can_be_started_again() -> None:
    with EmbeddedNats() as server:
        server.check_health()
        os.kill(server.pid, signal.SIGKILL)
        assert eventually(lambda: not server.running)
        with pytest.raises(ServiceError, match="has ended"):
            server.check_health()

        server.stop()
        server.start()

        assert is_reachable(server.url)
        server.check_health()


def test_without_a_folder_each_server_begins_empty() -> None:
    with EmbeddedNats() as first, EmbeddedNats() as second:
        assert first.folder is not None
        assert first.folder != second.folder
        folder = first.folder

    assert not folder.exists()


def test_two_servers_never_share_a_store_folder(tmp_path: Path) -> None:
    first, second = EmbeddedNats(tmp_path / "nats"), EmbeddedNats(tmp_path / "nats")

    with first, pytest.raises(ServiceError, match="Another nats-server uses"):
        second.start()

    second.start().stop()


def test_a_store_folder_may_have_any_name(tmp_path: Path) -> None:
    folder = tmp_path / """the café's "naïve" \\ 銀行"""

    with EmbeddedNats(folder) as server:
        reached = is_reachable(server.url)

    assert reached
    assert (folder / "jetstream").is_dir()


def test_credentials_are_in_the_url_and_nowhere_that_is_shown() -> None:
    word = "top/word"

    with EmbeddedNats(token=word) as server:
        assert "//top%2Fword@" in server.url
        assert "word" not in repr(server)
        assert "word" not in server.address


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.promise("embedded-nats-ends")
def test_nothing_is_left_when_the_parent_is_killed(number: signal.Signals) -> None:
    parent, server, supervisor, folder = start_parent()

    os.kill(parent.pid, number)
    parent.wait(10)

    assert eventually(lambda: process_start(server) is None and process_start(supervisor) is None)
    assert eventually(lambda: not folder.exists())


@pytest.mark.promise("embedded-nats-ends")
def test_nothing_is_left_when_the_whole_group_of_the_parent_is_killed() -> None:
    parent, server, supervisor, folder = start_parent()

    os.killpg(parent.pid, signal.SIGKILL)
    parent.wait(10)

    assert eventually(lambda: process_start(server) is None and process_start(supervisor) is None)
    assert eventually(lambda: not folder.exists())


@pytest.mark.skipif(sys.platform != "linux", reason="the server is tied to the supervisor on Linux")
def test_a_killed_supervisor_takes_the_server_along_and_its_folder_is_swept_later() -> None:
    server = EmbeddedNats().start()
    pid, folder = server.pid, server.folder
    assert folder is not None
    assert server.supervisor_pid is not None

    os.kill(server.supervisor_pid, signal.SIGKILL)
    assert eventually(lambda: process_start(pid) is None)
    assert not server.running
    server.stop()

    with EmbeddedNats():
        assert not folder.exists()


def test_an_announced_server_is_found_until_it_stops(tmp_path: Path) -> None:
    assert find_announced(tmp_path) is None

    with EmbeddedNats() as server:
        path = server.announce(tmp_path)
        assert find_announced(tmp_path) == server.url
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    assert find_announced(tmp_path) is None
    assert not path.exists()


def test_the_announcement_of_a_killed_server_is_not_believed(tmp_path: Path) -> None:
    server = EmbeddedNats().start()
    server.announce(tmp_path)

    os.kill(server.pid, signal.SIGKILL)

    assert eventually(lambda: find_announced(tmp_path) is None)
    server.stop()


def test_the_announcement_of_a_pid_that_was_used_again_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / ANNOUNCEMENT
    path.parent.mkdir()

    path.write_text(f'{{"url": "nats://127.0.0.1:1", "pid": {os.getpid()}, "started": "0"}}')
    assert find_announced(tmp_path) is None

    path.write_text("half a fi")
    assert find_announced(tmp_path) is None
