"""One runner and one rebuild per projection: locks that end with their holder."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import ProjectionBusy, ReadModelUnavailable
from eskit.processes.holding import Holder, Lock, find_holder
from eskit.projections.port import Activity, ReadModels
from eskit.slow import SlowCall

_DOING: dict[Activity, str] = {"run": "running", "rebuild": "rebuilding", "diff": "comparing"}
PATIENCE = 0.2
"""Longer than anybody who only asks `find_holder` keeps a lock."""
_LONGEST_REASON = 150
_LONGEST_STACK = 4_000
# A holder writes at least so often that it is there.
_BEAT = 5.0


class ProjectionLock:
    """The right to run, rebuild or compare one projection, and what its holder tells of itself.

    One thread takes it and lets it go, `held` says which; others may `tell` meanwhile.
    """

    def __init__(
        self, lock: Lock, name: str, activity: Activity, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._lock = lock
        self._name = name
        self._activity = activity
        self._clock = clock
        self._told = Holder(pid=0)
        self._mutex = threading.Lock()
        self._taken = False

    @property
    def held(self) -> bool:
        """Whether it is held, and was not lost."""
        return self._taken and self._lock.is_held()

    def acquire(self) -> None:
        """Take the lock, or raise ProjectionBusy saying who has it.

        ReadModelUnavailable where this process may not write, unless another one that may is at it.
        """
        if not self.try_acquire(patience=PATIENCE):
            raise self._busy()

    def try_acquire(self, *, patience: float = 0.0) -> bool:
        """Take the lock unless somebody has it; ReadModelUnavailable as `acquire`.

        Without patience it may also fail because somebody has only asked for the holder.
        """
        try:
            acquired = self._lock.acquire(patience=patience)
        except ReadModelUnavailable:
            with suppress(ReadModelUnavailable):
                if self.find_holder() is not None:
                    return False
            raise
        if not acquired:
            return False
        try:
            self._write(Holder.here(since=self._clock.microseconds() / 1e6))
        except ReadModelUnavailable:
            self.release()
            raise
        self._taken = True
        return True

    def tell(self, *, rate: float, waiting_for: str, slow: SlowCall | None, beats: bool) -> None:
        """Let others know how the holder gets on; with `beats` also that it is there at all.

        Costs nothing most of the time while that stays as it is, and where it is not held.
        """
        now, before = self._clock.monotonic(), self._told
        told = replace(
            before,
            rate=round(rate, 1),
            waiting_for=waiting_for[:_LONGEST_REASON],
            slow=slow.what if slow else "",
            slow_since=slow.since.timestamp() if slow else 0.0,
            stack=slow.stack[-_LONGEST_STACK:] if slow else "",
        )
        with self._mutex:
            if self.held and (told != before or (beats and now - before.beat > _BEAT)):
                with suppress(ReadModelUnavailable):  # a full disk is what it waits for
                    self._write(replace(told, beat=now if beats else 0.0))

    def release(self) -> None:
        """Let go; harmless when it is not held."""
        with self._mutex:
            self._taken = False
            self._lock.release()

    def find_holder(self) -> Holder | None:
        """Who holds the lock now, if anybody does; ReadModelUnavailable if that cannot be known."""
        return find_holder(self._lock)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _write(self, holder: Holder) -> None:
        self._told = holder
        self._lock.write(holder.note)

    def _busy(self) -> ProjectionBusy:
        holder = self.find_holder()
        who = (holder or Holder(pid=0)).text
        return ProjectionBusy(
            f"{who[0].upper()}{who[1:]} is {_DOING[self._activity]} projection {self._name!r}",
            hint=f"It handles new events by itself: eskit project status {self._name}"
            if self._activity == "run"
            else "Wait until it has finished, or stop it.",
        )


def lock_of(
    models: ReadModels[Any], name: str, activity: Activity, *, clock: Clock = SYSTEM_CLOCK
) -> ProjectionLock:
    """The lock of a projection, not yet taken."""
    return ProjectionLock(models.lock(name, activity), name, activity, clock=clock)
