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
from eskit.errors import EskitError
from eskit.files.modes import PRIVATE, make_folder, open_or_make

_NOTE_LENGTH = 16_384
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


class LockFile:
    """A FileLock as the Lock of `eskit.processes.holding`, with errors of the kind `unavailable`.

    Its file is made if missing, with its folder.
    """

    def __init__(
        self,
        path: Path,
        *,
        unavailable: type[EskitError],
        mode: int = PRIVATE,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._lock = FileLock(path, mode=mode, clock=clock)
        self._unavailable = unavailable
        self._mode = mode

    def acquire(self, *, patience: float = 0.0) -> bool:
        """Take the lock of the operating system on the file."""
        acquired = take_file_lock(
            self._lock, mode=self._mode, patience=patience, unavailable=self._unavailable
        )
        if not acquired:
            self._lock.close()
        return acquired

    def release(self) -> None:
        """Close the file."""
        self._lock.close()

    def is_held(self) -> bool:
        """Whether the file is open: the kernel takes no lock away."""
        return self._lock.is_open

    def write(self, note: str) -> None:
        """Write into the file."""
        if self._lock.is_open:
            try:
                self._lock.write(note, length=_NOTE_LENGTH)
            except OSError as error:
                raise _not_writable(self._lock.path, error, self._unavailable) from error

    def find_note(self) -> str | None:
        """Read the file, if somebody has it locked."""
        try:
            return self._lock.find_note(_NOTE_LENGTH)
        except PermissionError as error:
            raise self._unavailable(
                f"{self._lock.path} may not be read, so eskit cannot tell who is at work there",
                hint="Ask its owner to do that, or to let you read it: "
                f"chmod g+r {self._lock.path}",
            ) from error


def take_file_lock(
    lock: FileLock,
    *,
    mode: int,
    patience: float,
    unavailable: type[EskitError],
    stop: Callable[[], bool] | None = None,
) -> bool:
    """Take a lock; False if another process has it all the time.

    Its file is made if missing, with its folder; an error of the kind `unavailable` if it cannot.
    """
    try:
        if not lock.is_open:
            make_folder(lock.path.parent, mode=mode)
        return lock.acquire(patience=patience, stop=stop)
    except OSError as error:
        raise _not_writable(lock.path, error, unavailable) from error


def _not_writable(path: Path, error: OSError, unavailable: type[EskitError]) -> EskitError:
    return unavailable(
        f"{path} cannot be written to: {error.strerror}",
        hint=f"Check permissions and space in {path.parent}. Reading works without.",
    )


def _try(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
