"""`project status --watch` on a real terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import termios
import threading

import pytest

from tests.support.running import DEPOSIT, break_deposits, eskit, kill, move, read_until

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A terminal of so many columns with a process on it."""

    def __init__(self, launch, *args: str, cwd, columns: int) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environment = {"TERM": "xterm-256color", "COLUMNS": ""}
        self.process = launch(*args, cwd=cwd, env=environment, terminal=theirs)
        os.close(theirs)
        self.written = self.all = ""

    def shows(self, pattern: str) -> list[str]:
        """Wait for something to be drawn; the lines drawn up to then, since the last time."""
        watchdog = threading.Timer(30, kill, [self.process])
        watchdog.start()
        try:
            while not re.search(pattern, self.text):
                more = os.read(self.ours, 65536).decode()
                self.written += more
                self.all += more
        finally:
            watchdog.cancel()
        lines, self.written = self.text.splitlines(), ""
        return lines

    @property
    def text(self) -> str:
        return ESCAPES.sub("", self.written).replace("\r", "\n")

    def interrupt(self) -> int:
        """Press Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        with contextlib.suppress(OSError):  # the other end is closed
            while more := os.read(self.ours, 65536).decode():
                self.written += more
                self.all += more
        os.close(self.ours)
        return code

    @property
    def rows(self) -> list[str]:
        """What stands on it now, as a terminal shows what was written."""
        rows, row, column = [""], 0, 0
        for number, verb, other in re.findall(r"\x1b\[\??(\d*)([A-Za-z])|(?s:(.))", self.all):
            if verb == "A":
                row -= int(number or 1)
            elif verb == "K":
                rows[row] = ""
            elif other == "\r":
                column = 0
            elif other == "\n":
                row += 1
                rows += [""] * (row + 1 - len(rows))
            elif other and other != "\x1b":
                rows[row] = rows[row][:column].ljust(column) + other + rows[row][column + 1 :]
                column += 1
        return rows


@pytest.mark.parametrize("columns", [80, 200])
def test_the_table_is_drawn_again_as_projections_go_on(bank, launch, columns):
    words = ("project", "status", "--watch", "--every", "0.1")
    screen = Screen(launch, *words, cwd=bank, columns=columns)
    before = screen.shows(r"activity-log +idle +0 +4 +4 ")
    runner = launch("project", "run", cwd=bank)
    read_until(runner, "Projections run until Ctrl-C", stream="stderr")

    after = screen.shows(rf"activity-log +running +4 +4 +0 +0 s +\d+/s +{runner.pid} +v1")

    assert screen.interrupt() == 0
    assert max(len(line) for line in [*before, *after]) <= columns
    heading = [line.split() for line in after if "position" in line][-1]
    assert heading[:8] == ["state", "position", "head", "lag", "behind", "rate", "holder", "code"]


def test_ctrl_c_leaves_the_table_once(bank, launch):
    screen = Screen(launch, "project", "status", "--watch", cwd=bank, columns=80)
    screen.shows(r"activity-log +idle +0 +4 +4 ")

    assert screen.interrupt() == 0

    assert [row.split()[0] for row in screen.rows if row.strip()] == [
        "state",
        "account-balance",
        "activity-log",
    ]


def test_what_failed_is_shown_below_the_table(bank, launch):
    break_deposits(bank)
    move(bank, DEPOSIT, "acc-001", "1.00")
    assert eskit("project", "run", "--once", cwd=bank).code == 1

    screen = Screen(launch, "project", "status", "--watch", cwd=bank, columns=80)
    lines = screen.shows(r"account-balance  stopped before \d+: KeyError")

    assert screen.interrupt() == 0
    assert any(re.match(r"account-balance +failed", line) for line in lines)
