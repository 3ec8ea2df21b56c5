"""Ctrl-C: stop after the current work, or interrupt it."""

from __future__ import annotations

import signal
import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from eskit.cli.terminal.printing import end_line_of_ctrl_c
from eskit.errors import EskitError


@contextmanager
def stop_on_signal(*, end_line: bool = True) -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second interrupts at once.

    With `end_line` the line ends on which a terminal has shown ``^C``.
    """
    stop = threading.Event()
    asked: list[int] = []

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        # By another thread: this one may be about to wait for the event, and hold its lock.
        start_new_thread(stop.set, ())
        if number == signal.SIGINT and end_line:
            end_line_of_ctrl_c()

    before = {
        number: signal.signal(number, ask_to_stop) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def explain_interrupt(left: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C say what it has left behind, as `left` finds it then."""
    try:
        yield
    except KeyboardInterrupt:
        try:
            left_behind = left()
        except EskitError as error:
            left_behind = f"What it has left cannot be found out: {error.message}"
        raise KeyboardInterrupt(left_behind) from None
