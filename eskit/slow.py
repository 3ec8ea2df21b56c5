"""Calls of users' code that take longer than they should: which, for how long, where they are.

A handler that hangs raises nothing. So a thread looks every so often at what is in hand, and logs
a call that is still the same after a bound, once, with its stack.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from eskit.clock import SYSTEM_CLOCK, Clock

_log = logging.getLogger("eskit.slow")

SLOW_AFTER = 10.0
"""The bound unless another one is chosen, in seconds."""
_LONGEST_TICK = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowCall:
    """A call that takes longer than the bound: what it does, since when, and its stack."""

    what: str
    since: datetime
    stack: str

    def text(self, now: datetime) -> str:
        """What it does and for how long, in a clause."""
        return f"{self.what} has been running for {(now - self.since).total_seconds():,.0f} s"


@dataclass(slots=True, eq=False)
class InHand:
    """What one thread is at: `at` tells one call from the next, `describe` what it does.

    `slow` is set while the call is slow.
    """

    describe: Callable[[], str]
    at: Callable[[], object]
    thread: int
    seen: object
    since: float
    slow: SlowCall | None = None


class SlowCalls:
    """Watches what is in hand; costs nothing for each call of a batch. Thread-safe.

    `after` is the bound in seconds; None watches nothing. `on_tick` is called every so often, from
    the thread that watches, as long as something is in hand.
    """

    def __init__(
        self,
        *,
        after: float | None = SLOW_AFTER,
        clock: Clock = SYSTEM_CLOCK,
        on_tick: Callable[[], None] | None = None,
    ) -> None:
        self.after = after
        self._clock = clock
        self._on_tick = on_tick
        self._mutex = threading.Lock()
        self._in_hand: list[InHand] = []
        self._watched = False

    @contextmanager
    def watching(
        self, describe: Callable[[], str], *, at: Callable[[], object] = lambda: None
    ) -> Iterator[InHand]:
        """Watch what this thread does in the block; yields what is known of it.

        Of a block that makes many calls `at` says which is in hand: each has the bound for
        itself. `describe` is asked, from another thread, only about a call that is slow.
        """
        after, thread = self.after, threading.get_ident()
        if after is None:
            yield InHand(describe, at, thread, None, 0.0)
            return
        entry = InHand(describe, at, thread, at(), self._clock.monotonic())
        with self._mutex:
            self._in_hand.append(entry)
            begin, self._watched = not self._watched, True
        if begin:
            self._clock.start(lambda: self._watch(after), name="eskit-slow-calls", daemon=True)
        try:
            yield entry
        finally:
            with self._mutex:
                self._in_hand.remove(entry)
            if entry.slow is not None:
                self._log_over(entry.slow)

    def find(self) -> list[SlowCall]:
        """The calls that are slow now, the one that began first at the front."""
        with self._mutex:
            found = [entry.slow for entry in self._in_hand if entry.slow is not None]
        return sorted(found, key=lambda call: call.since)

    def _watch(self, after: float) -> None:
        """Look until no call has run for a while; the next block starts again."""
        tick = min(after / 4, _LONGEST_TICK)
        while True:
            self._clock.sleep(tick)
            with self._mutex:
                entries = list(self._in_hand)
                if not entries:
                    self._watched = False
                    return
            for entry in entries:
                self._look(entry, after)
            if self._on_tick is not None:
                self._on_tick()

    def _look(self, entry: InHand, after: float) -> None:
        now, at = self._clock.monotonic(), entry.at()
        if at != entry.seen:
            over, entry.slow = entry.slow, None
            entry.seen, entry.since = at, now
            if over is not None:
                self._log_over(over)
        elif entry.slow is None and now - entry.since >= after:
            frame = sys._current_frames().get(entry.thread)  # noqa: SLF001 - the public way to it
            call = SlowCall(
                what=entry.describe(),
                since=self._clock.now - timedelta(seconds=now - entry.since),
                stack="".join(traceback.format_stack(frame)),
            )
            with self._mutex:
                if entry not in self._in_hand or entry.at() != at:
                    return
                entry.slow = call
            _log.warning("%s. It is here:\n%s", call.text(self._clock.now), call.stack.rstrip())

    def _log_over(self, call: SlowCall) -> None:
        seconds = (self._clock.now - call.since).total_seconds()
        _log.warning("%s is over after %s s", call.what, f"{seconds:,.0f}")
