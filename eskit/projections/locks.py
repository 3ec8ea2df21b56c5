"""One runner and one rebuild per projection: locks of the operating system, freed by death.

A lease by the wall clock has two holders when the clock moves; ``flock`` cannot, and the kernel
lets go when the holder dies, however it dies. It also holds between threads of one process.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import ProjectionBusy, ReadModelUnavailable

Activity: TypeAlias = Literal["run", "rebuild", "diff"]

_DOING: dict[Activity, str] = {"run": "running", "rebuild": "rebuilding", "diff": "comparing"}
# Longer than anybody who only asks `find_holder` keeps the lock.
_PATIENCE = 0.2
_HOLDER_LENGTH = 1024
_LONGEST_OUTAGE = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a lock: its id and since when, in seconds since 1970.

    `rate` is how many events a second it has just handled, `outage` why it cannot go on now.
    """

    pid: int
    since: float
    rate: float = 0.0
    outage: str = ""


class ProjectionLock:
    """The right to run, rebuild or compare one projection. Not thread-safe itself."""

    def __init__(
        self, folder: Path, name: str, activity: Activity, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._path = folder / f"{name}.{activity}"
        self._name = name
        self._activity = activity
        self._clock = clock
        self._file = -1
        self._told = Holder(pid=0, since=0.0)

    def acquire(self) -> None:
        """Take the lock, or raise ProjectionBusy saying who has it.

        ReadModelUnavailable where this process may not write, unless another one that may is at it.
        """
        try:
            file = open_lock_file(self._path)
        except ReadModelUnavailable:
            if self.find_holder() is not None:
                raise self._busy() from None
            raise
        if not _lock_patiently(file, self._clock):
            os.close(file)
            raise self._busy()
        self._file = file
        try:
            self._write(Holder(pid=os.getpid(), since=self._clock.microseconds() / 1e6))
        except OSError as error:
            self.release()
            raise _not_writable(self._path, error) from error

    def tell(self, *, rate: float, outage: str) -> None:
        """Let others know how the holder gets on; costs nothing while that stays as it is."""
        now = replace(self._told, rate=round(rate, 1), outage=outage[:_LONGEST_OUTAGE])
        if now != self._told:
            with suppress(OSError):  # a full disk is what the outage is about
                self._write(now)

    def release(self) -> None:
        """Let go; harmless when it is not held."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def find_holder(self) -> Holder | None:
        """Who holds the lock now, if anybody does."""
        try:
            file = os.open(self._path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _parse_holder(os.pread(file, _HOLDER_LENGTH, 0))
        else:
            return None
        finally:
            os.close(file)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _write(self, holder: Holder) -> None:
        self._told = holder
        # Always as long, so that nothing is left of what stood there; truncating takes 1 ms.
        os.pwrite(self._file, json.dumps(asdict(holder)).ljust(_HOLDER_LENGTH).encode(), 0)

    def _busy(self) -> ProjectionBusy:
        holder = self.find_holder()
        who = f"process {holder.pid}" if holder and holder.pid else "another process"
        return ProjectionBusy(
            f"{who[0].upper()}{who[1:]} is {_DOING[self._activity]} projection {self._name!r}",
            hint="Wait until it has finished, or stop it.",
        )


def open_lock_file(path: Path) -> int:
    """The descriptor of a lock file, which is made if missing, with its folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> ReadModelUnavailable:
    return ReadModelUnavailable(
        f"The read model cannot be written to: {path}: {error.strerror}",
        hint=f"Projections write in {path.parent.parent}: check permissions and space there. "
        "Reading works without.",
    )


def _lock_patiently(file: int, clock: Clock) -> bool:
    deadline = clock.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if clock.monotonic() > deadline:
                return False
            clock.sleep(0.01)
        else:
            return True


def _parse_holder(text: bytes) -> Holder:
    """The holder as it wrote itself; process 0 in the instant before it has."""
    try:
        told: Any = json.loads(text)
    except ValueError:
        return Holder(pid=0, since=0.0)
    return Holder(
        pid=told["pid"],
        since=told["since"],
        rate=told.get("rate", 0.0),
        outage=told.get("outage", ""),
    )
