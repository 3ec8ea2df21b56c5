"""Whether the file still bears its name."""

from __future__ import annotations

import time
from pathlib import Path

from eskit.errors import StoreUnavailable

_LOOK_EVERY = 0.01


class FilePlace:
    """Notices that a file was deleted or replaced while it was open.

    SQLite goes on writing into a file that lost its name, and says nothing. A look costs as much
    as a tenth of a small append, so there is one every ten milliseconds: what is written into the
    nameless file until then is gone with it, as if it had been taken away so much later.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._identity = self._identify()
        self._next_look = 0.0

    def check(self) -> None:
        """Raise StoreUnavailable if the last look found another file, or none, at the path."""
        now = time.monotonic()
        if now < self._next_look:
            return
        if self._identify() != self._identity:
            raise StoreUnavailable(
                f"The file of {self._url} was deleted or replaced while it was open",
                hint="Put the right file in its place, then start again.",
            )
        self._next_look = now + _LOOK_EVERY

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino
