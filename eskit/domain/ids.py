"""Identifiers: time-ordered ones for what is new, derived ones for what must repeat."""

from __future__ import annotations

import os
import threading
import time
from uuid import UUID, uuid5

_NAMESPACE = UUID("6f1c2d1e-5f0a-5b1c-9d53-0f5a5c1e8a77")
_SEQUENCE_BITS = 12


class _Uuid7:
    """RFC 9562 version 7 ids that never go backwards within a process.

    The 12 bits after the millisecond count up within it (method 1 of section 6.2); when they
    run out, or the clock steps back, the last millisecond is carried on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> UUID:
        tick = (time.time_ns() // 1_000_000) << _SEQUENCE_BITS
        with self._lock:
            self._last = tick = max(tick, self._last + 1)
        milliseconds, sequence = tick >> _SEQUENCE_BITS, tick & 0xFFF
        random = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
        return UUID(int=milliseconds << 80 | 0x7 << 76 | sequence << 64 | 0b10 << 62 | random)


_uuid7 = _Uuid7()


def new_id() -> str:
    """A fresh UUID version 7 as text; later ids of one process sort after earlier ones."""
    return str(_uuid7.next())


def derived_id(*parts: str) -> str:
    """The same UUID version 5 for the same parts, for ids that a resend must repeat."""
    return str(uuid5(_NAMESPACE, "\x1f".join(parts)))
