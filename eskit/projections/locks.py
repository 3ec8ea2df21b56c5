"""One runner and one rebuild per projection: locks of the operating system, freed by death."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import ProjectionBusy, ReadModelUnavailable
from eskit.files.lock import FileLock, is_alive
from eskit.files.modes import PRIVATE, make_folder
from eskit.projections.port import Activity, Lock, ReadModels
from eskit.slow import SlowCall

_DOING: dict[Activity, str] = {"run": "running", "rebuild": "rebuilding", "diff": "comparing"}
PATIENCE = 0.2
"""Longer than anybody who only asks `find_holder` keeps a lock."""
HOLDER_LENGTH = 16_384
"""How long a note of a holder is at most."""
_LONGEST_REASON = 150
_LONGEST_STACK = 4_000
# A holder writes at least so often that it is there; one that has not for longer is stopped.
_BEAT = 5.0
_SILENT_AFTER = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a lock: its id and since when, in seconds since 1970.

    `rate` is how many events a second it has just handled, `waiting_for` why it must wait now.
    `slow` is the call that it has been in for too long, since `slow_since`, with its `stack`.
    `beat` is when it last wrote this, by the clock that only goes forward; 0 if it never tells.
    """

    pid: int
    since: float
    rate: float = 0.0
    waiting_for: str = ""
    slow: str = ""
    slow_since: float = 0.0
    stack: str = ""
    beat: float = 0.0

    def silent_seconds(self, now: float) -> float:
        """For how long it has not been heard of, if that is too long; else 0."""
        silent = now - self.beat if self.beat else 0.0
        return silent if silent > _SILENT_AFTER else 0.0


class ProjectionLock:
    """The right to run, rebuild or compare one projection, and what its holder tells of itself.

    One thread takes it and lets it go, `held` says which; others may `tell` meanwhile.
    """

    def __init__(
        self, lock: Lock, name: str, activity: Activity, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._lock = lock
        self._name = name
        self._activity = activity
        self._clock = clock
        self._told = Holder(pid=0, since=0.0)
        self._mutex = threading.Lock()
        self.held = False

    def acquire(self) -> None:
        """Take the lock, or raise ProjectionBusy saying who has it.

        ReadModelUnavailable where this process may not write, unless another one that may is at it.
        """
        if not self.try_acquire(patience=PATIENCE):
            raise self._busy()

    def try_acquire(self, *, patience: float = 0.0) -> bool:
        """Take the lock unless somebody has it; ReadModelUnavailable as `acquire`.

        Without patience it may also fail because somebody has only asked for the holder.
        """
        try:
            acquired = self._lock.acquire(patience=patience)
        except ReadModelUnavailable:
            with suppress(ReadModelUnavailable):
                if self.find_holder() is not None:
                    return False
            raise
        if not acquired:
            return False
        try:
            self._write(Holder(pid=os.getpid(), since=self._clock.microseconds() / 1e6))
        except ReadModelUnavailable:
            self.release()
            raise
        self.held = True
        return True

    def tell(self, *, rate: float, waiting_for: str, slow: SlowCall | None, beats: bool) -> None:
        """Let others know how the holder gets on; with `beats` also that it is there at all.

        Costs nothing most of the time while that stays as it is, and where it is not held.
        """
        now, before = self._clock.monotonic(), self._told
        told = replace(
            before,
            rate=round(rate, 1),
            waiting_for=waiting_for[:_LONGEST_REASON],
            slow=slow.what if slow else "",
            slow_since=slow.since.timestamp() if slow else 0.0,
            stack=slow.stack[-_LONGEST_STACK:] if slow else "",
        )
        with self._mutex:
            if self.held and (told != before or (beats and now - before.beat > _BEAT)):
                with suppress(ReadModelUnavailable):  # a full disk is what it waits for
                    self._write(replace(told, beat=now if beats else 0.0))

    def release(self) -> None:
        """Let go; harmless when it is not held."""
        with self._mutex:
            self.held = False
            self._lock.release()

    def find_holder(self) -> Holder | None:
        """Who holds the lock now, if anybody does; ReadModelUnavailable if that cannot be known."""
        note = self._lock.find_note()
        return None if note is None else _parse_holder(note)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def _write(self, holder: Holder) -> None:
        self._told = holder
        note = _note_of(holder)
        if len(note) > HOLDER_LENGTH:
            note = _note_of(replace(holder, slow=holder.slow[:1_000], stack=""))
        self._lock.write(note)

    def _busy(self) -> ProjectionBusy:
        holder = self.find_holder()
        who = f"process {holder.pid}" if holder and holder.pid else "another process"
        return ProjectionBusy(
            f"{who[0].upper()}{who[1:]} is {_DOING[self._activity]} projection {self._name!r}",
            hint=f"It handles new events by itself: eskit project status {self._name}"
            if self._activity == "run"
            else "Wait until it has finished, or stop it.",
        )


def lock_of(
    models: ReadModels[Any], name: str, activity: Activity, *, clock: Clock = SYSTEM_CLOCK
) -> ProjectionLock:
    """The lock of a projection, not yet taken."""
    return ProjectionLock(models.lock(name, activity), name, activity, clock=clock)


class LockFile:
    """A lock of a projection in a file of its own; see `eskit.projections.port.Lock`."""

    def __init__(self, path: Path, *, clock: Clock = SYSTEM_CLOCK, mode: int = PRIVATE) -> None:
        self._lock = FileLock(path, mode=mode, clock=clock)
        self._mode = mode

    def acquire(self, *, patience: float) -> bool:
        """Take the lock of the operating system on the file."""
        acquired = take_file_lock(self._lock, mode=self._mode, patience=patience)
        if not acquired:
            self._lock.close()
        return acquired

    def release(self) -> None:
        """Close the file."""
        self._lock.close()

    def write(self, note: str) -> None:
        """Write into the file."""
        try:
            self._lock.write(note, length=HOLDER_LENGTH)
        except OSError as error:
            raise _not_writable(self._lock.path, error) from error

    def find_note(self) -> str | None:
        """Read the file, if somebody has it locked."""
        try:
            return self._lock.find_note(HOLDER_LENGTH)
        except PermissionError as error:
            raise ReadModelUnavailable(
                f"{self._lock.path} may not be read, so eskit cannot tell who is at work there",
                hint="Ask its owner to do that, or to let you read it: "
                f"chmod g+r {self._lock.path}",
            ) from error


def take_file_lock(
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


_TOLD = tuple(field.name for field in fields(Holder))


def _note_of(holder: Holder) -> str:
    return json.dumps({name: getattr(holder, name) for name in _TOLD})


def _parse_holder(note: str) -> Holder:
    """The holder as it wrote itself; process 0 in the instant before it has.

    So it is where the note is of a process that is gone: a copy of its descriptor has the lock.
    """
    try:
        told: Any = json.loads(note)
        holder = Holder(**{name: value for name, value in told.items() if name in _TOLD})
        return holder if is_alive(holder.pid) else Holder(pid=0, since=0.0)
    except (ValueError, TypeError, AttributeError):
        return Holder(pid=0, since=0.0)
