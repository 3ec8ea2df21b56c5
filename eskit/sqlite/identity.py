"""Whether a database and the files that SQLite keeps beside it still bear their names.

SQLite continues to write into files that lost their names, and says nothing. Without its ``-wal`` a
database lacks what was committed last; with another ``-shm`` than that of the others a process does
not see their locks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

FileId: TypeAlias = tuple[int, int]

_COMPANIONS = ("-wal", "-shm")


def identify(path: Path | str) -> FileId | None:
    """Which file bears the name now, if any does; raises OSError where that cannot be told."""
    try:
        found = os.stat(path)  # noqa: PTH116 - with a string it takes a third of the time
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


class DatabaseFiles:
    """The files of a database that is open, known by more than their names.

    What SQLite keeps beside it is there as long as a connection is open: `opened` is called when
    one has read, `closed` before it is closed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        # Beside the file itself, whatever links lead there.
        real = os.path.realpath(path)
        self._companions = dict.fromkeys(f"{real}{suffix}" for suffix in _COMPANIONS)
        self._known: dict[str, FileId | None] = dict(self._companions)
        self._file = identify(path)
        self._connections = 0

    def opened(self) -> None:
        """A connection is open, and has read."""
        self._connections += 1
        self._look_beside()

    def closed(self) -> None:
        """A connection is being closed; with the last one SQLite removes what lies beside."""
        self._connections -= 1
        if not self._connections:
            self._known = dict(self._companions)

    @property
    def is_in_place(self) -> bool:
        """Whether the database itself still bears its name."""
        return identify(self._name) == self._file

    def find_lost(self) -> Path | None:
        """The first file whose name is gone, or belongs to another file."""
        return self._path if not self.is_in_place else self._look_beside()

    def were_recreated(self) -> bool:
        """Whether another file has the name of one beside it, so another process uses that."""
        return any(
            known is not None and identify(path) not in {None, known}
            for path, known in self._known.items()
        )

    def _look_beside(self) -> Path | None:
        if not self._connections:
            return None
        for path, known in self._known.items():
            found = identify(path)
            if known is None:
                self._known[path] = found
            elif found != known:
                return Path(path)
        return None
