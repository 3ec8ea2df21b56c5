"""A bell that appends ring, for those in the process that wait for the next event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def _always() -> bool:
    return True


class Signal:
    """Counts notifications, so that one between a look and a wait is not missed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        self._count = 0
        self._waiting = 0

    def notify(self) -> None:
        """Wake everybody who waits."""
        with self._lock:
            self._count += 1
            if self._waiting:
                self._condition.notify_all()

    def wait_until(
        self,
        happened: Callable[[], bool],
        timeout: float,
        *,
        poll: tuple[float, float] | None = None,
        changed: Callable[[], bool] = _always,
    ) -> bool:
        """Look after every notification until `happened` says True, at most `timeout` seconds.

        `poll` gives the shortest and longest pause after which to look without one, for what
        this process is not told of. `changed` is asked first then: whether it is worth a look.
        """
        deadline = time.monotonic() + timeout
        pause, longest = poll or (timeout, timeout)
        look = True
        while True:
            seen = self._count
            if look and happened():
                return True
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return not look and happened()
            with self._lock:
                if self._count == seen:
                    self._wait(min(pause, remaining))
            look = self._count != seen or changed()
            pause = min(pause * 2, longest)

    def _wait(self, timeout: float) -> None:
        self._waiting += 1
        try:
            self._condition.wait(timeout)
        finally:
            self._waiting -= 1
