"""Where the progress of long work goes: nowhere, or to stderr as JSON lines (a bar: ``bar.py``)."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from eskit.cli.terminal.text import to_json

_EVERY = 0.1


class ProgressReporter(Protocol):
    """Takes the progress of long work."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """`done` of `total` (0: unknown) of what `label` names."""


class NoProgress:
    """Shows nothing."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """Do nothing."""


class JsonProgress:
    """Writes progress as JSON lines to stderr, at most ten a second for each label."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def __call__(self, label: str, done: int, total: int) -> None:
        """Write one line, unless one of this label was just written."""
        now = time.monotonic()
        if done < total and now - self._last.get(label, 0.0) < _EVERY:
            return
        self._last[label] = now
        line = to_json({"progress": {"name": label, "done": done, "total": total}})
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
