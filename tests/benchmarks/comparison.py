"""One comparison: eskit's time beside a floor's, and whether that is good enough."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Timed = Callable[[], float]  # does the work once and returns the seconds that count


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What counts as good enough.

    ``speed``: eskit reaches at least `bound` of the floor's speed. ``time``: it takes at most
    `bound` times what the floor takes. ``extra``: it takes at most `bound` more.
    """

    kind: Literal["speed", "time", "extra"]
    bound: float
    unit: Literal["s", "bytes"] = "s"

    def measure(self, ours: float, floor: float) -> float:
        """The figure that is compared with the bound."""
        match self.kind:
            case "speed":
                return floor / ours
            case "time":
                return ours / floor
            case "extra":
                return ours - floor

    def accepts(self, figure: float) -> bool:
        """Whether the figure is good enough."""
        return figure >= self.bound if self.kind == "speed" else figure <= self.bound

    def __str__(self) -> str:
        match self.kind:
            case "speed":
                return f"≥ {self.bound:.2f} ×"
            case "time":
                return f"≤ {self.bound:.2f} ×"
            case "extra":
                return f"≤ +{format_amount(self.bound, self.unit)}"


def format_amount(amount: float, unit: str) -> str:
    """Seconds or bytes as they are read best."""
    if unit == "s":
        return f"{amount:.2f} s"
    return f"{amount / 1e6:,.1f} MB" if amount >= _MANY_BYTES else f"{amount:,.0f} bytes"


_MANY_BYTES = 1e5


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was measured: medians in the target's unit, for `count` pieces of work each."""

    name: str
    floor_name: str
    ours: float
    floor: float
    target: Target
    count: int = 1

    @property
    def figure(self) -> float:
        """The figure that is compared with the target's bound."""
        return self.target.measure(self.ours, self.floor)

    @property
    def passed(self) -> bool:
        """Whether the target is met."""
        return self.target.accepts(self.figure)


def compare(
    name: str,
    ours: Timed,
    *,
    floor_name: str,
    floor: Timed,
    target: Target,
    rounds: int,
    count: int = 1,
) -> Comparison:
    """Measure both sides in turn, after one round that does not count, and take the medians."""
    ours(), floor()
    pairs = [(ours(), floor()) for _ in range(rounds)]
    return Comparison(
        name=name,
        floor_name=floor_name,
        ours=statistics.median(pair[0] for pair in pairs),
        floor=statistics.median(pair[1] for pair in pairs),
        target=target,
        count=count,
    )


def timed(work: Callable[[], object]) -> Timed:
    """The whole of `work`, timed."""

    def run() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run
