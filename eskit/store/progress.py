"""How far an operation on the store has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`done` of `total` of the step called `name`."""

    name: str
    done: int
    total: int


ReportProgress: TypeAlias = Callable[[Progress], None]


def no_progress(_progress: Progress) -> None:
    """Report nothing."""
