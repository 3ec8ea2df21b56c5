"""Files that end: what is read whole must not be a device that gives bytes for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from eskit.errors import InvalidArgument


def open_regular(path: Path) -> BinaryIO:
    """A file to be read; InvalidArgument for a device, a pipe or a folder, OSError as `open`."""
    _check(path, path.stat().st_mode)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        _check(path, os.fstat(descriptor).st_mode)
    except InvalidArgument:
        file.close()
        raise
    return file


def read_regular(path: Path) -> bytes:
    """All of a file."""
    with open_regular(path) as file:
        return file.read()


def _check(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise InvalidArgument(
            f"{path} is no regular file", hint="Write what is to be read to a file first."
        )
