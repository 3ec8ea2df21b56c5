"""States of long streams in memory, so that the next command folds only what is new since.

A state is kept as it was folded from the log, before a command had it in hand, and with the event
it was folded up to. It is used only while the log has that very event there. So an erasure, and a
stream with another history, is noticed, and what other processes append is folded as ever. Streams
with erased events are always folded whole: part of one may have been read before the erasure.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple, TypeAlias

from eskit.domain.aggregate import AnyAggregate
from eskit.domain.events import FoldRow

LONG = 32
"""The events of a stream from which on its state is kept: fewer are folded as quickly."""
MOST_BYTES = 16 * 1024 * 1024
_LARGEST = MOST_BYTES // 16
_AROUND = 1024
"""What a kept state takes besides its own bytes and those of its event, roughly."""

Key: TypeAlias = tuple[type[AnyAggregate], str, str]
"""An aggregate's class, its tenant and its stream."""


class KeptState(NamedTuple):
    """A serialised state, the event it was folded up to, and the snapshot it was folded from."""

    state: bytes
    last: FoldRow
    snapshot_version: int

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.state) + len(self.last.data) + len(self.last.metadata) + _AROUND


class StateCache:
    """The states used last, up to `MOST_BYTES` of memory in all. Thread-safe."""

    def __init__(self, *, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._kept: OrderedDict[Key, KeptState] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, key: Key) -> KeptState | None:
        """The state that is kept, if one is; whoever uses it looks for its event in the log."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: Key, kept: KeptState) -> None:
        """Keep a state in place of the one before, unless it is too large to be one of many."""
        with self._lock:
            self._remove(key)
            if kept.size > min(_LARGEST, self._most_bytes):
                return
            self._kept[key] = kept
            self._bytes += kept.size
            while self._bytes > self._most_bytes:
                self._remove(next(iter(self._kept)))

    def forget(self, key: Key) -> None:
        """Keep it no longer."""
        with self._lock:
            self._remove(key)

    def _remove(self, key: Key) -> None:
        if (kept := self._kept.pop(key, None)) is not None:
            self._bytes -= kept.size
