"""Requests that are refused because the store or a read model is away: told once, and counted."""

from __future__ import annotations

import logging

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.cqrs.options import Reply
from eskit.domain.services import Method
from eskit.errors import EskitError, StoreError
from eskit.raised import LONGEST_LINE, shortened

_log = logging.getLogger("eskit.services")
_TOLD_EVERY = 60.0


class _Refused:
    """One thing that is wrong, and how many requests it has cost."""

    def __init__(self, error: EskitError, now: float) -> None:
        self.error = error
        self.count = 0
        self.told_at = now


class Refusals:
    """What is wrong now. One line of the log says so, later ones how many requests were refused.

    The store is one thing, whichever method finds it away; a read model is one for each method.
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._open: dict[str, _Refused] = {}

    @property
    def of_the_store(self) -> EskitError | None:
        """Why commands are refused, if the store is away."""
        found = self._open.get(_STORE)
        return found.error if found is not None else None

    def add(self, method: Method, error: EskitError) -> None:
        """A request was refused with `error`."""
        now = self._clock.monotonic()
        key = _STORE if isinstance(error, StoreError) else method.path
        refused = self._open.get(key)
        if refused is None or refused.error.code != error.code:
            refused = self._open[key] = _Refused(error, now)
            _log.error("%s cannot be answered: %s", method.path, _in_a_line(error))
        refused.count += 1
        if now - refused.told_at >= _TOLD_EVERY:
            refused.told_at = now
            _log.error("%d requests could not be answered: %s", refused.count, _in_a_line(error))

    def answered(self, method: Method, reply: Reply) -> None:
        """A request was answered: what it needed is there."""
        if not self._open:
            return
        self._end(method.path)
        if reply.global_position and not reply.already_processed:
            self.store_is_back()

    def store_is_back(self) -> None:
        """Something was written to the store."""
        self._end(_STORE)

    def _end(self, key: str) -> None:
        refused = self._open.pop(key, None)
        if refused is not None:
            what = "The store" if key == _STORE else key
            _log.warning("%s answers again; %d requests were refused", what, refused.count)


def _in_a_line(error: EskitError) -> str:
    return shortened(" ".join(error.message.split()), LONGEST_LINE)


_STORE = ""
