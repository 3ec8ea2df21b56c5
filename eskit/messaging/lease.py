"""The right to relay a store: one relay at a time, any other stands by.

A lock of the operating system on a file beside the store: freed by the kernel when its holder
dies, however it dies, and indifferent to clocks. It keeps two relays from getting in each other's
way; that no event is published twice or out of order does not depend on it (see `relay`).
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eskit.errors import EskitError, StoreUnavailable
from eskit.files.lock import FileLock, is_alive
from eskit.files.modes import PRIVATE, mode_of
from eskit.store.eventstore import EventStore

_PID_LENGTH = 20


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """What a relay does; `state` is one of `RelayStatus`, and empty if nothing is known."""

    state: str = ""
    error: str = ""
    hint: str = ""


class Lease(Protocol):
    """Something that one relay at a time can hold."""

    def try_acquire(self) -> bool:
        """Take it if it is free; True also if it is held already."""
        ...

    def release(self) -> None:
        """Give it back; harmless when it is not held."""
        ...

    def find_holder(self) -> int | None:
        """The process id of its holder, if it is held; 0 if that is not known."""
        ...

    def report(self, state: str, problem: EskitError | None) -> None:
        """Let others know what its holder does; harmless when it is not held."""
        ...

    def load_report(self) -> LeaseReport:
        """What its holder does, or did when it gave it back."""
        ...


class NoLease:
    """For a store that no other process can open."""

    def try_acquire(self) -> bool:
        """True: no other relay can have it."""
        return True

    def release(self) -> None:
        """Nothing to do."""

    def find_holder(self) -> int | None:
        """None: there is no holder."""
        return None

    def report(self, state: str, problem: EskitError | None) -> None:
        """Do nothing: no one asks."""

    def load_report(self) -> LeaseReport:
        """Nothing is known."""
        return LeaseReport()


class FileLease:
    """A lock on a file, which keeps the holder's process id and what it does.

    The process id stands in the first bytes, and JSON behind it.
    """

    def __init__(self, path: Path, *, mode: int = PRIVATE) -> None:
        self._lock = FileLock(path, mode=mode)

    def try_acquire(self) -> bool:
        """See Lease. Raises StoreUnavailable where no file can be made."""
        if self._lock.is_open:
            return True
        try:
            if self._lock.acquire():
                self._lock.write(str(os.getpid()), length=_PID_LENGTH)
                return True
        except OSError as error:
            self._lock.close()
            raise StoreUnavailable(
                f"Cannot make {self._lock.path}: {error.strerror}",
                hint="The relay keeps its checkpoint in the store, and needs to write there.",
            ) from error
        self._lock.close()
        return False

    def release(self) -> None:
        """See Lease."""
        self._lock.close()

    def find_holder(self) -> int | None:
        """See Lease. Raises StoreUnavailable where that may not be known."""
        try:
            note = self._lock.find_note(_PID_LENGTH)
        except PermissionError as error:
            raise StoreUnavailable(
                f"{self._lock.path} may not be read, so eskit cannot tell whether a relay runs",
                hint="Ask its owner to do that, or to let you read it: "
                f"chmod g+r {self._lock.path}",
            ) from error
        if note is None:
            return None
        return int(note) if note.isdigit() and is_alive(int(note)) else 0

    def report(self, state: str, problem: EskitError | None) -> None:
        """See Lease."""
        if not self._lock.is_open:
            return
        pairs = {
            "state": state,
            "error": str(problem) if problem is not None else "",
            "hint": problem.hint if problem is not None else "",
        }
        with contextlib.suppress(OSError):  # of a full disk the store tells
            self._lock.write_behind(_PID_LENGTH, json.dumps(pairs))

    def load_report(self) -> LeaseReport:
        """See Lease."""
        try:
            text = self._lock.path.read_bytes()[_PID_LENGTH:]
            pairs = json.loads(text) if text.strip() else {}
            return LeaseReport(**pairs)
        except (OSError, ValueError, TypeError):
            return LeaseReport()


def lease_of(store: EventStore) -> Lease:
    """The lease on relaying a store."""
    from eskit.store.open import locate

    file = locate(store.url).file
    if file is None:
        return NoLease()
    path = Path(os.path.realpath(file))  # one lease, whatever links lead there
    return FileLease(path.with_name(f"{path.name}.relay"), mode=mode_of(path))
