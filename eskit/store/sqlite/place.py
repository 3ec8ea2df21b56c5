"""What the system says of a file, and whether it still bears its name."""

from __future__ import annotations

import os
from pathlib import Path

from eskit.clock import Clock
from eskit.errors import StoreUnavailable

_LOOK_EVERY = 0.01


def find_status(path: Path, url: str) -> os.stat_result | None:
    """What `stat` tells of a file of the store at `url`; None if nothing bears that name.

    Raises StoreUnavailable where the system cannot tell.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:  # of a folder above
        raise may_not_be_read(url) from error
    except OSError as error:
        raise StoreUnavailable(
            f"{url} cannot be reached: {error.strerror}",
            hint="Check the path of the store and the disk it lies on.",
        ) from error


def may_not_be_read(url: str) -> StoreUnavailable:
    """What to say when it is permissions that are missing."""
    return StoreUnavailable(
        f"{url} may not be read", hint="Check the permissions of the file and its folders."
    )


class FilePlace:
    """Notices that a file was deleted or replaced while it was open, or a link that led to it.

    SQLite goes on writing into a file that lost its name, and says nothing. A look costs as much
    as a tenth of a small append, so there is one every ten milliseconds: what is written into the
    nameless file until then is gone with it, as if it had been taken away so much later.
    """

    def __init__(self, path: Path, url: str, clock: Clock) -> None:
        self._clock = clock
        self._path = path
        self._url = url
        self._identity = self._identify()
        self._next_look = 0.0

    def check(self) -> None:
        """Raise StoreUnavailable if the last look found another file, or none, or could not."""
        now = self._clock.monotonic()
        if now < self._next_look:
            return
        if self._identify() != self._identity:
            raise StoreUnavailable(
                f"The file of {self._url} was deleted or replaced while it was open",
                hint="Put the right file in its place, then start again.",
            )
        self._next_look = now + _LOOK_EVERY

    def _identify(self) -> tuple[int, int] | None:
        found = find_status(self._path, self._url)
        return None if found is None else (found.st_dev, found.st_ino)
