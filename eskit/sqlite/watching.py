"""Whether anybody has written to a SQLite file: two system calls instead of a query."""

from __future__ import annotations

import time
from pathlib import Path

from eskit.sqlite.place import find_status

# File times advance in steps of a few milliseconds: a write within the step of the one before it
# leaves the same time. So what has just changed counts as changed for a while.
_STEP_NS = 50_000_000
_QUIET_NS = 1_000_000_000


class FileWatch:
    """Compares the times and sizes of a database and its write-ahead log with those before.

    May say that something changed when nothing did. The other way round it errs where a disk keeps
    coarser times than the step: then the look at the end of a wait finds it. Raises
    StoreUnavailable where the files cannot be reached.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._url = url
        self._files = (f"{path}-wal", str(path))
        self._seen = self._stamp()

    def changed(self) -> bool:
        """Whether a look is worth while."""
        before, self._seen = self._seen, self._stamp()
        return self._seen != before or self._age_ns() < _STEP_NS

    @property
    def is_quiet(self) -> bool:
        """Whether nobody had written for a second when it looked last."""
        return self._age_ns() > _QUIET_NS

    def _age_ns(self) -> int:
        """Since the newest time; below zero, which counts as now, after the clock was set back."""
        return time.time_ns() - max(time_ns for time_ns, _ in self._seen)

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        return tuple(self._stamp_of(file) for file in self._files)

    def _stamp_of(self, file: str) -> tuple[int, int]:
        found = find_status(file, self._url)
        return (0, 0) if found is None else (found.st_mtime_ns, found.st_size)
