"""A lock of the operating system: freed by the kernel when its holder dies, however it dies.

A lease by the wall clock has two holders when the clock moves; ``flock`` cannot. It also holds
between threads of one process. Whoever may read the file may hold the lock, so nobody else may.
"""

from __future__ import annotations

import fcntl
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.files.modes import PRIVATE, open_or_make

_SHORTEST_WAIT, _LONGEST_WAIT = 0.0002, 0.005


class FileLock:
    """The lock on a file of its own, which keeps a note of its holder. Not thread-safe itself."""

    def __init__(self, path: Path, *, mode: int = PRIVATE, clock: Clock = SYSTEM_CLOCK) -> None:
        """`mode` is what the file is made with; it is made when the lock is first asked for."""
        self.path = path
        self._mode = mode
        self._clock = clock
        self._file = -1
        self._noted_by = 0
        self._note_length = 0

    @property
    def is_open(self) -> bool:
        """Whether the file is open, as it is while the lock is held."""
        return self._file >= 0

    def fileno(self) -> int:
        """The open file: a process that inherits it holds the lock as long as it lives."""
        return self._file

    def acquire(self, *, patience: float = 0.0, stop: Callable[[], bool] | None = None) -> bool:
        """Take the lock; False if another process has it for so many seconds, or until `stop`.

        Raises OSError where the file can be neither opened nor made.
        """
        deadline = 0.0
        while True:
            if self._file < 0:
                self._file = open_or_make(self.path, mode=self._mode)
            if _try(self._file, fcntl.LOCK_EX):
                if self._bears_its_name():
                    return True
                self.close()  # its last holder has removed it
                continue
            now = self._clock.monotonic()
            deadline = deadline or now + patience
            if now >= deadline or (stop is not None and stop()):
                return False
            self._clock.sleep(random.uniform(_SHORTEST_WAIT, _LONGEST_WAIT))

    def write(self, note: str, *, length: int) -> None:
        """Say something of the holder, in always as many bytes; raises OSError.

        Nothing is left so of what stood there; truncating takes a millisecond.
        """
        os.pwrite(self._file, note.ljust(length).encode(), 0)
        self._noted_by, self._note_length = os.getpid(), length

    def write_behind(self, offset: int, text: str) -> None:
        """Say more behind the note, which stays there when the lock is let go; raises OSError."""
        data = text.encode()
        os.pwrite(self._file, data, offset)
        os.ftruncate(self._file, offset + len(data))

    def release(self) -> None:
        """Let go, and keep the file open for the next time."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go, and leave no note of this process; harmless when nothing is held."""
        if self._file < 0:
            return
        file, self._file = self._file, -1
        if self._noted_by == os.getpid():
            with suppress(OSError):
                os.pwrite(file, b" " * self._note_length, 0)
        self._noted_by = 0
        os.close(file)

    def remove(self) -> None:
        """Remove the file, then let go."""
        self.path.unlink(missing_ok=True)
        self.close()

    def find_note(self, length: int) -> str | None:
        """What the holder says of itself; None if the lock is free.

        Raises PermissionError where that may not be known.
        """
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            if _try(file, fcntl.LOCK_SH):
                return None
            return os.pread(file, length, 0).decode(errors="replace").strip()
        finally:
            os.close(file)

    def _bears_its_name(self) -> bool:
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False
        found = os.fstat(self._file)
        return (named.st_dev, named.st_ino) == (found.st_dev, found.st_ino)


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0


def _try(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
