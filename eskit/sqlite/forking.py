"""Files that a forked process must leave alone: those that were open when it was forked.

SQLite keeps the locks of a file in the memory of the process. A forked child has a copy of that
memory and none of the locks: it would write into a WAL that its parent, who knows nothing of it,
deletes when it closes the file. The descriptors of the process tell what is open, by whatever way.
"""

from __future__ import annotations

import os
from pathlib import Path

from eskit.errors import EskitError
from eskit.files.descriptors import list_descriptors

HINT = (
    "Close it before forking, or start the process with the method spawn or forkserver of "
    "multiprocessing."
)

_inherited: set[tuple[int, int]] = set()


def refuse_inherited(path: Path, what: str, error: type[EskitError]) -> None:
    """Raise an error about a file that was open when this process was forked."""
    if was_open_at_fork(path):
        raise error(f"{what} was open when this process was forked", hint=HINT)


def was_open_at_fork(path: Path) -> bool:
    """Whether this process was forked while the file at `path` was open."""
    if not _inherited:
        return False
    try:
        found = path.stat()
    except OSError:  # no file, or none that can be reached
        return False
    return (found.st_dev, found.st_ino) in _inherited


def _remember_what_is_open() -> None:
    for descriptor in list_descriptors():
        try:
            found = os.fstat(descriptor)
        except OSError:  # not open, or that of the list itself
            continue
        _inherited.add((found.st_dev, found.st_ino))


os.register_at_fork(after_in_child=_remember_what_is_open)
