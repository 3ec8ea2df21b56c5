"""How old a remembered command is, by clocks that may have been wrong.

When an operator corrects a clock, time seems to have passed. A machine that booted in 1970 would
forget its commands a moment later, and would carry out the next resend twice. So eskit counts time
in full only while it records commands. A longer pause, which a corrected clock also leaves behind,
counts as at most a seventh of the time to live.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Span: TypeAlias = tuple[int, int]
"""Times between which commands were recorded, the later one first; microseconds since 1970."""

_GAPS_FOR_ALL = 7


def forgotten_before(now: int, ttl: int, spans: Iterable[Span]) -> int:
    """The moment before which what was recorded is older than `ttl`; 0 when nothing is.

    `spans` come latest first, none is later than `now`. Everything in microseconds.
    """
    if not ttl:
        return now
    most, age, later = ttl // _GAPS_FOR_ALL, 0, now
    for end, start in spans:
        gap = later - end
        age += min(gap, most)
        if age > ttl:
            return end + (age - ttl if gap <= most else 1)
        age += end - start
        if age > ttl:
            return start + age - ttl
        later = start
    return 0
