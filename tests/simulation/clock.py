"""Time that passes only when somebody waits, for threads and for coroutines."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from eskit.clock import Thread, Waitable
from eskit.domain.time import from_microseconds, to_microseconds
from tests.simulation.ports import Crash

_START = to_microseconds(datetime(2030, 1, 1, tzinfo=UTC))
_LONGEST_RUN = 7 * 24 * 3600.0


class Stuck(Exception):
    """Somebody waits for what nobody is ever going to do."""


class NeverRun:
    """A thread that the scheduler of this world never gets round to."""

    def is_alive(self) -> bool:
        """It has not ended."""
        return True

    def join(self) -> None:
        """Nobody comes back from here."""
        raise Stuck("waits for the end of a thread")


class SoonRun:
    """A thread whose work is done when somebody waits, or waits for its end."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work: Callable[[], object] | None = work

    def is_alive(self) -> bool:
        """Whether it is still to be done."""
        return self._work is not None

    def join(self) -> None:
        """Do it now, unless it was done."""
        if self._work is not None:
            work, self._work = self._work, None
            with suppress(Crash):  # its process has ended
                work()


class SimClock:
    """A clock for one thread that does everything: who waits lets others go on.

    `on_wait` is called whenever somebody waits, before time passes: what happens elsewhere
    meanwhile. Every look at the clock takes `tick` seconds.
    """

    def __init__(self, *, tick: float = 1e-6) -> None:
        self.on_wait: Callable[[], object] = lambda: None
        self.elapsed = 0.0
        self._tick = tick
        self._set_forward = 0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = 0

    @property
    def now(self) -> datetime:
        """The date, which may be set forward and back."""
        return from_microseconds(self.microseconds())

    def microseconds(self) -> int:
        """The same since 1970."""
        return _START + self._set_forward + int(self.elapsed * 1_000_000)

    def monotonic(self) -> float:
        """Seconds since the beginning of this world."""
        self.elapsed += self._tick
        return self.elapsed

    def sleep(self, seconds: float) -> None:
        """Let others go on, and so much time pass."""
        self.on_wait()
        self.pass_time(seconds)

    def wait(self, event: Waitable, timeout: float | None = None) -> bool:
        """Let others go on until an event is set, a condition may have been notified, or time."""
        is_set: Callable[[], bool] | None = getattr(event, "is_set", None)
        if is_set is None:
            return self._wait_for_condition(event, timeout)
        if not is_set():
            self.on_wait()
        end = None if timeout is None else self.elapsed + timeout
        while not is_set() and (end is None or self.elapsed < end):
            self._pass_to_next(end)
        return is_set()

    def start(self, work: Callable[[], object], *, name: str, daemon: bool) -> Thread:
        """Do the work when somebody waits; a thread that only watches never gets its turn."""
        del daemon
        if name == "eskit-slow-calls":
            return NeverRun()
        thread = SoonRun(work)
        self.call_in(0.0, thread.join)
        return thread

    def set_date(self, seconds: float) -> None:
        """Correct the date by so many seconds; negative ones set it back."""
        self._set_forward += int(seconds * 1_000_000)

    def call_in(self, seconds: float, work: Callable[[], object]) -> None:
        """Do something when so much time has passed."""
        self._numbers += 1
        heapq.heappush(self._due, (self.elapsed + seconds, self._numbers, work))

    @property
    def until_due(self) -> float | None:
        """In how many seconds something is to be done; None if nothing is."""
        return max(0.0, self._due[0][0] - self.elapsed) if self._due else None

    def forget(self) -> None:
        """Do nothing of what is still to be done."""
        self._due.clear()

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and do what is due on the way."""
        end = self.elapsed + max(seconds, 0)
        while self._due and self._due[0][0] <= end:
            moment, _, work = heapq.heappop(self._due)
            self.elapsed = max(self.elapsed, moment)
            work()
        self.elapsed = max(self.elapsed, end)

    def _wait_for_condition(self, condition: Any, timeout: float | None) -> bool:
        condition.release()
        try:
            self.on_wait()
            self._pass_to_next(None if timeout is None else self.elapsed + timeout)
        finally:
            condition.acquire()
        return True

    def _pass_to_next(self, end: float | None) -> None:
        if self._due and (end is None or self._due[0][0] < end):
            end = self._due[0][0]
        if end is None or self.elapsed > _LONGEST_RUN:
            raise Stuck("waits for an event that nobody is going to set")
        self.pass_time(end - self.elapsed)


class SimLoop(asyncio.BaseEventLoop):
    """An event loop in the time of a SimClock; what it gives to other threads is done at once."""

    def __init__(self, clock: SimClock, on_round: Callable[[], object]) -> None:
        """`on_round` is called in each round, and may raise to end it all."""
        super().__init__()
        self._clock = clock
        self._on_round = on_round
        self.set_exception_handler(lambda _loop, _context: None)
        self._selector = self  # it selects from nothing

    def time(self) -> float:
        """Seconds since the beginning of this world."""
        return self._clock.elapsed

    def select(self, timeout: float | None) -> list[object]:
        """Nothing is to be read: let time pass until the next timer."""
        self._on_round()
        moments = [wait for wait in (timeout, self._clock.until_due) if wait is not None]
        if not moments:
            raise Stuck("every coroutine waits for another")
        if timeout != 0:
            self._clock.on_wait()
            self._clock.pass_time(min(moments))
        return []

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Call the function now; whoever awaits it goes on in the next round."""
        del executor
        future = self.create_future()
        try:
            settle = partial(_settle, future, result=func(*args))
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            settle = partial(_settle, future, error=error)
        self.call_soon(settle)
        return future

    def _process_events(self, event_list: object) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def _settle(
    future: asyncio.Future[Any], *, result: object = None, error: Exception | None = None
) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
