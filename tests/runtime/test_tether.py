"""A command that ends with whoever started it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from eskit.processes.child import tethered
from eskit.processes.identity import process_start

SLEEPER = """
import os, signal, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""


def start(*arguments: str) -> tuple[subprocess.Popen[str], int]:
    """The tether of a process that sleeps, and its pid."""
    tether = subprocess.Popen(
        tethered([sys.executable, "-c", SLEEPER, *arguments]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert tether.stdout is not None
    return tether, int(tether.stdout.readline())


def has_ended(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while process_start(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process_start(pid) is None


def test_the_command_is_ended_when_the_pipe_closes() -> None:
    tether, pid = start()

    tether.communicate(timeout=10)

    assert has_ended(pid)
    assert tether.returncode != 0


def test_a_command_that_does_not_listen_is_killed() -> None:
    tether, pid = start("stubborn")

    tether.communicate(timeout=15)

    assert has_ended(pid)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(
            signal.SIGKILL,
            marks=pytest.mark.skipif(sys.platform != "linux", reason="tied on Linux alone"),
        ),
    ],
)
def test_the_command_ends_with_its_tether(number: signal.Signals) -> None:
    tether, pid = start()

    tether.send_signal(number)

    assert has_ended(pid)
    tether.communicate()


def test_the_exit_code_is_that_of_the_command() -> None:
    command = tethered([sys.executable, "-c", "raise SystemExit(7)"])
    with subprocess.Popen(command, stdin=subprocess.PIPE) as tether:
        code = tether.wait(10)

    assert code == 7
