"""Time, waiting and threads: what eskit has of them comes through this port.

Whoever needs one is given a `Clock` when it is made; by default that of the machine. Another one
may stand still in a test, or run the whole program step by step in a simulation. Coroutines have
the like in their event loop: `loop.time`, `asyncio.sleep`, `asyncio.timeout`, and its executor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol


class Waitable(Protocol):
    """What a thread can wait for: a `threading.Event`, or a `threading.Condition` that it holds."""

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it happens or, with False, until so many seconds have passed."""
        ...


class Thread(Protocol):
    """A thread that was started."""

    def is_alive(self) -> bool:
        """Whether it is still at work here; never in a forked child."""
        ...

    def join(self) -> None:
        """Wait until it has ended."""
        ...


class Clock(Protocol):
    """What time it is, waiting for time to pass, and threads to do it in."""

    @property
    def now(self) -> datetime:
        """The time in UTC."""
        ...

    def microseconds(self) -> int:
        """The same as whole microseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment; never set back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let so much time pass."""
        ...

    def wait(self, event: Waitable, timeout: float | None = None) -> bool:
        """Wait until an event is set or a condition notified; False when the time is over."""
        ...

    def start(self, work: Callable[[], object], *, name: str, daemon: bool) -> Thread:
        """Do some work in a thread of its own; the process does not wait for a daemon's."""
        ...


class SystemClock:
    """The clock of the machine."""

    @property
    def now(self) -> datetime:
        """The time in UTC."""
        return datetime.now(UTC)

    def microseconds(self) -> int:
        """Whole microseconds since 1970."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the thread."""
        time.sleep(seconds)

    def wait(self, event: Waitable, timeout: float | None = None) -> bool:
        """Block the thread."""
        return event.wait(timeout)

    def start(self, work: Callable[[], object], *, name: str, daemon: bool) -> Thread:
        """Start a thread."""
        thread = threading.Thread(target=work, name=name, daemon=daemon)
        thread.start()
        return thread


SYSTEM_CLOCK: Final = SystemClock()
