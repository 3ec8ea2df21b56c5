"""One runner and one rebuild per projection: locks of the operating system, freed by death."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import ProjectionBusy, ReadModelUnavailable
from eskit.files.lock import FileLock, is_alive
from eskit.files.modes import PRIVATE, make_folder

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
        self,
        folder: Path,
        name: str,
        activity: Activity,
        *,
        clock: Clock = SYSTEM_CLOCK,
        mode: int = PRIVATE,
    ) -> None:
        self._lock = FileLock(folder / f"{name}.{activity}", mode=mode, clock=clock)
        self._mode = mode
        self._name = name
        self._activity = activity
        self._clock = clock
        self._told = Holder(pid=0, since=0.0)

    def acquire(self) -> None:
        """Take the lock, or raise ProjectionBusy saying who has it.

        ReadModelUnavailable where this process may not write, unless another one that may is at it.
        """
        try:
            acquired = acquire_lock(self._lock, mode=self._mode, patience=_PATIENCE)
        except ReadModelUnavailable:
            with suppress(ReadModelUnavailable):
                if self.find_holder() is not None:
                    raise self._busy() from None
            raise
        if not acquired:
            self._lock.close()
            raise self._busy()
        try:
            self._write(Holder(pid=os.getpid(), since=self._clock.microseconds() / 1e6))
        except OSError as error:
            self.release()
            raise _not_writable(self._lock.path, error) from error

    def tell(self, *, rate: float, outage: str) -> None:
        """Let others know how the holder gets on; costs nothing while that stays as it is."""
        now = replace(self._told, rate=round(rate, 1), outage=outage[:_LONGEST_OUTAGE])
        if now != self._told:
            with suppress(OSError):  # a full disk is what the outage is about
                self._write(now)

    def release(self) -> None:
        """Let go; harmless when it is not held."""
        self._lock.close()

    def find_holder(self) -> Holder | None:
        """Who holds the lock now, if anybody does; ReadModelUnavailable if that cannot be known."""
        try:
            note = self._lock.find_note(_HOLDER_LENGTH)
        except PermissionError as error:
            raise ReadModelUnavailable(
                f"{self._lock.path} may not be read, so nobody can tell who is "
                f"{_DOING[self._activity]} {self._name!r}",
                hint=f"Let its owner do that, or let you read it: chmod g+r {self._lock.path}",
            ) from error
        return None if note is None else _parse_holder(note)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _write(self, holder: Holder) -> None:
        self._told = holder
        self._lock.write(json.dumps(asdict(holder)), length=_HOLDER_LENGTH)

    def _busy(self) -> ProjectionBusy:
        holder = self.find_holder()
        who = f"process {holder.pid}" if holder and holder.pid else "another process"
        return ProjectionBusy(
            f"{who[0].upper()}{who[1:]} is {_DOING[self._activity]} projection {self._name!r}",
            hint="Wait until it has finished, or stop it.",
        )


def acquire_lock(
    lock: FileLock, *, mode: int, patience: float, stop: Callable[[], bool] | None = None
) -> bool:
    """Take a lock of a read model; False if another process has it all the time.

    Its file is made if missing, with its folder. Raises ReadModelUnavailable if it cannot be.
    """
    try:
        if not lock.is_open:
            make_folder(lock.path.parent, mode=mode)
        return lock.acquire(patience=patience, stop=stop)
    except OSError as error:
        raise _not_writable(lock.path, error) from error


def _not_writable(path: Path, error: OSError) -> ReadModelUnavailable:
    return ReadModelUnavailable(
        f"The read model cannot be written to: {path}: {error.strerror}",
        hint=f"Projections write in {path.parent.parent}: check permissions and space there. "
        "Reading works without.",
    )


def _parse_holder(note: str) -> Holder:
    """The holder as it wrote itself; process 0 in the instant before it has.

    So it is where the note is of a process that is gone: a copy of its descriptor has the lock.
    """
    try:
        told: Any = json.loads(note)
        holder = Holder(
            pid=told["pid"],
            since=told["since"],
            rate=told.get("rate", 0.0),
            outage=told.get("outage", ""),
        )
    except (ValueError, TypeError, KeyError):
        return Holder(pid=0, since=0.0)
    return holder if is_alive(holder.pid) else Holder(pid=0, since=0.0)
