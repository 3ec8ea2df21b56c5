"""Running eskit as a process of its own, and what it leaves behind."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OPEN = "account.v1.AccountCommandService/OpenAccount"
DEPOSIT = "account.v1.AccountCommandService/Deposit"
WITHDRAW = "account.v1.AccountCommandService/Withdraw"


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def records(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


def start(
    *args: str, cwd: Path, terminal: int | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start eskit as a process of its own, on pipes or with its output on a terminal."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ESKIT_", "NO_COLOR"))}
    environment |= options.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-m", "eskit", *args],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if terminal is None else terminal,
        stderr=subprocess.PIPE if terminal is None else terminal,
        text=True,
        **options,
    )


def eskit(*args: str, cwd: Path, timeout: float = 60, **options: Any) -> Ran:
    """Run eskit as a process of its own until it ends."""
    process = start(*args, cwd=cwd, **options)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return Ran(process.returncode, out, err)


def launcher() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """For a fixture: starts processes, and kills those that are left when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def launch(*args: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
        started.append(start(*args, cwd=cwd, **options))
        return started[-1]

    yield launch
    for process in started:
        if process.poll() is None:
            kill(process)
        process.wait(10)
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill it, and what it started if it leads a session of its own."""
    if os.getpgid(process.pid) == process.pid:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def read_until(
    process: subprocess.Popen[str], text: str, *, stream: str = "stdout", within: float = 30.0
) -> list[str]:
    """The lines the process prints up to one with `text`; kills it when that does not come."""
    lines: list[str] = []
    watchdog = threading.Timer(within, kill, [process])
    watchdog.start()
    try:
        for line in getattr(process, stream):
            lines.append(line)
            if text in line:
                return lines
    finally:
        watchdog.cancel()
    raise AssertionError(f"{text!r} did not come: {lines}")


def interrupt(process: subprocess.Popen[str]) -> Ran:
    """Press Ctrl-C and wait for the end; what was still printed, with the exit code."""
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        kill(process)
        raise
    return Ran(process.returncode, out, err)


class Terminal:
    """A terminal with a process in front of it, which gets its Ctrl-C."""

    def __init__(
        self,
        launch: Callable[..., subprocess.Popen[str]],
        *command: str,
        cwd: Path,
        columns: int = 200,
    ) -> None:
        self._ours, theirs = pty.openpty()

        def take() -> None:
            os.setsid()
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

        environment = {"TERM": "dumb", "COLUMNS": str(columns)}
        self.process = launch(*command, cwd=cwd, env=environment, terminal=theirs, preexec_fn=take)
        os.close(theirs)
        self._written = b""

    def read_until(self, text: str) -> list[str]:
        """The lines up to one with `text`, since it began."""
        while text.encode() not in self._written:
            assert select.select([self._ours], [], [], 30.0)[0], self._written
            self._written += os.read(self._ours, 65536)
        return self._written.decode().replace("\r", "").splitlines()

    def press_ctrl_c(self) -> None:
        """Have the terminal send what it sends for Ctrl-C."""
        os.write(self._ours, b"\x03")


def open_account(project: Path, account: str, owner: str = "Alice", amount: str = "1000.00") -> Ran:
    data = {"account_id": account, "owner_name": owner, "initial_balance": amount}
    return eskit("call", OPEN, "--data", json.dumps(data), cwd=project)


def move(project: Path, method: str, account: str, amount: str) -> Ran:
    data = {"account_id": account, "amount": amount}
    return eskit("call", method, "--data", json.dumps(data), cwd=project)


def break_deposits(bank: Path) -> None:
    """Make the handler of deposits raise, with a control code in its error."""
    module = bank / "bank" / "projections" / "account_balance.py"
    module.write_text(
        module.read_text().replace('"""Set the balance."""', 'raise KeyError("\\x1b[31meur")', 1)
    )


def configure(project: Path, **settings: str | int) -> None:
    """Set settings in the project's pyproject.toml, in place of those it had."""
    file = project / "pyproject.toml"
    before, head, after = file.read_text().partition("[tool.eskit]\n")
    kept = [line for line in after.splitlines() if line.partition(" =")[0] not in settings]
    added = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    file.write_text(before + head + "\n".join([*added, *kept]) + "\n")


def free_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
