"""A command that ends with whoever started it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from eskit.processes.child import tied_to_parent
from eskit.processes.identity import process_start

SLEEPER = """
import os, signal, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""


def start(*arguments: str) -> tuple[subprocess.Popen[str], int]:
    """The parent, by which it is ended, of a process that sleeps, and its pid."""
    tie = subprocess.Popen(
        tied_to_parent([sys.executable, "-c", SLEEPER, *arguments]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert tie.stdout is not None
    return tie, int(tie.stdout.readline())


def has_ended(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while process_start(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    return process_start(pid) is None


def test_the_command_is_ended_when_the_pipe_closes() -> None:
    tie, pid = start()

    tie.communicate(timeout=10)

    assert has_ended(pid)
    assert tie.returncode != 0


def test_a_command_that_does_not_listen_is_killed() -> None:
    tie, pid = start("stubborn")

    tie.communicate(timeout=15)

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
def test_the_command_ends_with_what_ties_it(number: signal.Signals) -> None:
    tie, pid = start()

    tie.send_signal(number)

    assert has_ended(pid)
    tie.communicate()


def test_the_exit_code_is_that_of_the_command() -> None:
    command = tied_to_parent([sys.executable, "-c", "raise SystemExit(7)"])
    with subprocess.Popen(command, stdin=subprocess.PIPE) as tie:
        code = tie.wait(10)

    assert code == 7
