"""What holds for every test: an empty folder, no settings from outside, no network but loopback."""

from __future__ import annotations

import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.asynchronous import pytest_pyfunc_call

__all__ = ["pytest_pyfunc_call"]

_OUTSIDE = ("ESKIT_", "NATS_")
_TERMINAL = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "LINES")

# The machine may be slow or shared: a test fails by what it finds, never by how long it took.
settings.register_profile("eskit", deadline=None, database=None)
settings.load_profile("eskit")


def _is_loopback(host: str) -> bool:
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_the_network(event: str, arguments: tuple[object, ...]) -> None:
    if event != "socket.connect":
        return
    sock, address = arguments
    if not isinstance(sock, socket.socket) or sock.family == socket.AF_UNIX:
        return
    if isinstance(address, tuple) and not _is_loopback(str(address[0])):
        message = f"A test tried to connect to {address[0]}; tests use loopback only"
        raise PermissionError(message)


sys.addaudithook(_refuse_the_network)

# A shell makes what it starts in the background deaf to Ctrl-C, which some tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every test starts in an empty folder of its own and sees no settings of the machine.

    Commands are those of this environment, whether or not it is activated.
    """
    for name in list(os.environ):
        if name.startswith(_OUTSIDE) or name in _TERMINAL:
            monkeypatch.delenv(name)
    tools = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes; only who may mount can have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    has_mount = shutil.which("mount") is not None
    if not has_mount or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root on Linux")
    yield folder
    # Lazy: after a failure the traceback still holds the files.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds pyproject.toml."""
    return Path(__file__).parents[1]
