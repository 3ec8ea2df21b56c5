"""What this process has open, by whatever way."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_DESCRIPTORS = "/dev/fd"
_MOST_PROBED = 65_536


def is_open_here(path: Path) -> bool:
    """Whether this process has a descriptor of the file.

    If it is a database it must not be opened and closed beside SQLite: the locks of the process
    would go.
    """
    try:
        wanted = path.stat()
    except OSError:
        return False
    for descriptor in list_descriptors():
        try:
            found = os.fstat(descriptor)
        except OSError:  # not open, or that of the list itself
            continue
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return True
    return False


def list_descriptors() -> Iterable[int]:
    """The descriptors that this process may have."""
    try:
        return [int(name) for name in os.listdir(_DESCRIPTORS)]  # noqa: PTH208 - a third of the time
    except OSError:  # where no /proc is mounted; the lowest free number is always taken next
        return range(min(os.sysconf("SC_OPEN_MAX"), _MOST_PROBED))
