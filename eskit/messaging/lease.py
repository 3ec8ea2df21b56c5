"""The right to relay a store: one relay at a time, any other stands by.

A lock of the operating system on a file beside the store: freed by the kernel when its holder
dies, however it dies, and indifferent to clocks. It keeps two relays from getting in each other's
way; that no event is published twice or out of order does not depend on it (see `relay`).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol

from eskit.errors import StoreUnavailable
from eskit.store.eventstore import EventStore

_SQLITE = "sqlite:///"
_PID_LENGTH = 20


class Lease(Protocol):
    """Something that one relay at a time can hold."""

    def try_acquire(self) -> bool:
        """Take it if nobody has it; True also if it is held already."""
        ...

    def release(self) -> None:
        """Give it back; harmless when it is not held."""
        ...

    def find_holder(self) -> int | None:
        """The process id of its holder, if somebody has it; 0 if that is not known."""
        ...


class NoLease:
    """For a store that no other process can open."""

    def try_acquire(self) -> bool:
        """Nobody else can have it."""
        return True

    def release(self) -> None:
        """Nothing to do."""

    def find_holder(self) -> int | None:
        """Nobody."""
        return None


class FileLease:
    """A lock on a file, which keeps the holder's process id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def try_acquire(self) -> bool:
        """See Lease. Raises StoreUnavailable where no file can be made."""
        if self._file >= 0:
            return True
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreUnavailable(
                f"Cannot make {self._path}: {error.strerror}",
                hint="The relay keeps its checkpoint in the store, and needs to write there.",
            ) from error
        if not _lock(file, fcntl.LOCK_EX):
            os.close(file)
            return False
        os.pwrite(file, str(os.getpid()).ljust(_PID_LENGTH).encode(), 0)
        self._file = file
        return True

    def release(self) -> None:
        """See Lease."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def find_holder(self) -> int | None:
        """See Lease."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            if _lock(file, fcntl.LOCK_SH):
                return None
            pid = os.pread(file, _PID_LENGTH, 0).decode(errors="replace").strip()
            return int(pid) if pid.isdigit() else 0
        finally:
            os.close(file)


def lease_of(store: EventStore) -> Lease:
    """The lease on relaying a store."""
    from eskit.store.open import sqlite_path

    if not store.url.startswith(_SQLITE):
        return NoLease()
    path = Path(os.path.realpath(sqlite_path(store.url)))  # one lease, whatever links lead there
    return FileLease(path.with_name(f"{path.name}.relay"))


def _lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
