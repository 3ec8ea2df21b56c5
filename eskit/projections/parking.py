"""Work that waits until projections have passed a position, without a thread for each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import EskitError
from eskit.projections import bookkeeping
from eskit.projections.port import ReadModels

_log = logging.getLogger("eskit.projections")
_POLL = 0.01
_TRY_AGAIN_AFTER = 0.5


class _Parked:
    """Something to call when projections have come to a position."""

    def __init__(self, names: Sequence[str], position: int, then: Callable[[], object]) -> None:
        self.names = names
        self.position = position
        self.then = then


class Parking:
    """One thread looks at checkpoints for all who wait, as long as anybody does. Thread-safe."""

    def __init__(self, models: ReadModels[Any], *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._models = models
        self._clock = clock
        self._mutex = threading.Lock()
        self._moved = threading.Condition(self._mutex)
        self._parked: dict[_Parked, float] = {}
        self._watched = False

    def park(
        self, names: Sequence[str], position: int, timeout: float, then: Callable[[], object]
    ) -> None:
        """Call `then` once, from another thread, when there is reason to look again.

        That is when the projections have passed the position or can no longer, when `timeout` is
        over, and for the one that waits longest every so often: nobody may run them any more.
        """
        end = self._clock.monotonic() + timeout
        with self._mutex:
            self._parked[_Parked(names, position, then)] = end
            begin, self._watched = not self._watched, True
        if begin:
            self._clock.start(self._watch, name="eskit-parking", daemon=True)

    def announce(self) -> None:
        """Look now: a checkpoint was moved."""
        if self._watched:
            with self._mutex:
                self._moved.notify_all()

    def _watch(self) -> None:
        tried_at = self._clock.monotonic()
        while True:
            with self._mutex:
                if not self._parked:
                    self._watched = False
                    return
                self._clock.wait(self._moved, _POLL)
                waiting = dict(self._parked)
            now = self._clock.monotonic()
            due = [one for one, end in waiting.items() if end <= now]
            due += self._ready([one for one in waiting if one not in due])
            if not due and now - tried_at >= _TRY_AGAIN_AFTER:
                tried_at = now
                due = list(waiting)[:1]
            with self._mutex:
                for one in due:
                    del self._parked[one]
            for one in due:
                self._call(one)

    def _ready(self, waiting: Sequence[_Parked]) -> list[_Parked]:
        """Who need not wait: what they wait for is there, or will never be."""
        reached: dict[str, float] = {}
        for name in {name for one in waiting for name in one.names}:
            try:
                reached[name] = self._reached(name)
            except EskitError:
                reached[name] = float("inf")  # whoever waits for it is told why, when it looks
        return [one for one in waiting if all(reached[name] >= one.position for name in one.names)]

    def _reached(self, name: str) -> float:
        """How far a projection is; infinitely far when it has stopped or is paused."""
        state = bookkeeping.find_state(self._models, name)
        if state is None:
            return -1.0
        if state.pause is not None or any(
            failure.phase == "run" for failure in bookkeeping.find_failures(self._models, name)
        ):
            return float("inf")
        return state.checkpoint.position

    def _call(self, one: _Parked) -> None:
        try:
            one.then()
        except Exception:  # noqa: BLE001 - who waits besides is told all the same
            _log.exception("What waited for %s failed", ", ".join(one.names))
