"""What the system says of a file, and whether it and those beside it still bear their names."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from eskit.clock import Clock
from eskit.errors import StoreUnavailable
from eskit.sqlite.identity import DatabaseFiles

_LOOK_EVERY = 0.01


def find_status(path: Path | str, url: str) -> os.stat_result | None:
    """What `stat` tells of a file of the store at `url`; None if nothing bears that name.

    Raises StoreUnavailable where the system cannot tell.
    """
    try:
        return os.stat(path)  # noqa: PTH116 - asked often; see `identify`
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

    It notices the same of the ``-wal`` and the ``-shm`` beside the file. SQLite continues to write
    into files that lost their names, and says nothing. A look costs as much as a part of a small
    append, so there is one every ten milliseconds. What was written into a nameless database until
    then is gone with it. What was written into a nameless ``-wal`` can still be read by connections
    that are open, and is moved into the database.
    """

    def __init__(self, path: Path, url: str, clock: Clock) -> None:
        self._clock = clock
        self._path = path
        self._url = url
        with self._translated():
            self._files = DatabaseFiles(path)
        self._next_look = 0.0
        self._saved = False

    def opened(self) -> None:
        """A connection is open, and has read."""
        with self._translated():
            self._files.opened()

    def closed(self) -> None:
        """A connection is being closed."""
        self._files.closed()

    def check(self, connection: sqlite3.Connection | None) -> None:
        """Raise StoreUnavailable if the last look found another file, or none, or could not.

        `connection` is the one that is to be used next. None is for one that is to be opened, which
        would create the missing files again: so there is always a look before.
        """
        now = self._clock.monotonic()
        if connection is not None and now < self._next_look:
            return
        with self._translated():
            lost = self._files.find_lost()
            if lost is not None and lost != self._path:
                self._save(connection)
        if lost is not None:
            raise self._refusal(lost)
        self._next_look = now + _LOOK_EVERY

    def _save(self, connection: sqlite3.Connection | None) -> None:
        """Move the contents of the nameless files into the database.

        Not if another process has created such files again: it does not see this one's locks.
        """
        if self._saved or connection is None or self._files.were_recreated():
            return
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA query_only = OFF")
            busy, frames, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            self._saved = not busy and frames == moved

    def _refusal(self, lost: Path) -> StoreUnavailable:
        problem = f"{lost.name} was deleted or replaced while {self._url} was open"
        if lost == self._path:
            return StoreUnavailable(
                f"The file of {self._url} was deleted or replaced while it was open",
                hint="Put the right file in its place, then start again.",
            )
        if self._saved:
            return StoreUnavailable(
                f"{problem}; what was in it is saved",
                hint="Stop what uses the store, then start again.",
            )
        return StoreUnavailable(
            f"{problem}: what was committed last may be lost",
            hint="Stop what uses the store, then look what it has: eskit store verify",
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise may_not_be_read(self._url) from error
        except OSError as error:
            raise StoreUnavailable(
                f"{self._url} cannot be reached: {error.strerror}",
                hint="Check the path of the store and the disk it lies on.",
            ) from error
