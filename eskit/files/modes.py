"""Who may read a file that eskit makes: its owner alone, unless a setting says otherwise."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

from eskit.errors import InvalidArgument

PRIVATE = 0o600
"""What a file with events, rows or locks is made with."""

_READ, _READ_AND_WRITE = 0o444, 0o666
_OTHERS = 0o077
_making = threading.Lock()


def parse_mode(text: str) -> int:
    """The mode that four octal digits name, such as ``0640``; InvalidArgument for any other."""
    try:
        mode = int(text, 8)
    except ValueError:
        mode = 0
    if not text.isdigit() or mode & ~_READ_AND_WRITE or mode & PRIVATE != PRIVATE:
        raise InvalidArgument(
            f"{text!r} is not the mode of a file that its owner reads and writes",
            hint='Write it like "0640": 4 lets a group or all others read, 6 write as well.',
        )
    return mode


def mode_of(path: Path, default: int = PRIVATE) -> int:
    """The mode of a file, for what is made beside it; `default` where there is none."""
    try:
        return path.stat().st_mode & _READ_AND_WRITE
    except OSError:
        return default


def others_may_read(path: Path) -> bool:
    """Whether anybody but its owner may read or write a file that is there."""
    try:
        return bool(path.stat().st_mode & _OTHERS)
    except OSError:
        return False


def open_or_make(path: Path, *, mode: int = PRIVATE) -> int:
    """The descriptor of a file, for reading and writing.

    A missing file is made with just this mode, whatever the umask; one that is there keeps its own.
    """
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        with suppress(FileExistsError):
            return _make(path, mode)


def make_if_missing(path: Path, *, mode: int = PRIVATE) -> None:
    """Make an empty file with just this mode, unless there is one.

    A file that is there is not opened: SQLite's locks on it would go when it is closed. So that
    none are taken meanwhile, one thread at a time makes files.
    """
    with _making, suppress(FileExistsError):
        os.close(_make(path, mode))


def make_folder(path: Path, *, mode: int = PRIVATE) -> None:
    """Make a folder, and those above it, which whoever may read its files may enter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        path.chmod(mode | (mode & _READ) >> 2)


def _make(path: Path, mode: int) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    with suppress(OSError):  # a disk that keeps no modes
        os.fchmod(file, mode)
    return file
