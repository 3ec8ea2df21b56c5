"""Waking those in the process that wait for the next event."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from eskit.clock import SYSTEM_CLOCK, Clock


def _always() -> bool:
    return True


class AppendNotifier:
    """Numbers notifications, so that one between a look and a wait is not missed."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._condition = threading.Condition(self._lock)
        self._numbers = itertools.count(1)
        self._count = 0
        self._waiting = 0

    def notify(self) -> None:
        """Wake everybody who waits.

        Nearly always nobody does, and then no lock is taken. Whoever is about to wait says so
        before looking at the count, and here the count comes first: one of the two sees the other.
        Each notification has a number of its own, so that the count is never again what it was.
        """
        self._count = next(self._numbers)
        if self._waiting:
            with self._lock:
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
        deadline = self._clock.monotonic() + timeout
        pause, longest = poll or (timeout, timeout)
        look = True
        while True:
            seen = self._count
            if look and happened():
                return True
            remaining = deadline - self._clock.monotonic()
            if remaining <= 0:
                return not look and happened()
            self._wait(seen, min(pause, remaining))
            look = self._count != seen or changed()
            pause = min(pause * 2, longest)

    def _wait(self, seen: int, timeout: float) -> None:
        with self._lock:
            self._waiting += 1
            try:
                if self._count == seen:
                    self._clock.wait(self._condition, timeout)
            finally:
                self._waiting -= 1
