"""Who may do what no second process may do at the same time: locks, and who holds one."""

from __future__ import annotations

import json
import os
import random
import socket
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.processes.identity import is_alive

_LONGEST_NOTE = 16_384
_LONGEST_CALL = 1_000
_SHORTEST_WAIT, _LONGEST_WAIT = 0.0002, 0.005
_SILENT_AFTER = 20.0


class Lock(Protocol):
    """The right to do something, which ends with its holder, and a note of that holder.

    One thread takes it and lets it go; others may write meanwhile, and look.
    """

    def acquire(self, *, patience: float = 0.0) -> bool:
        """Take it, if it is not held already; False if another holder has it for so many seconds.

        Raises the error of its place where this process may not take it, as all methods do.
        """
        ...

    def release(self) -> None:
        """Let go; harmless when it is not held."""
        ...

    def is_held(self) -> bool:
        """Whether it is held still: a lock on a server is lost where the server hears nothing."""
        ...

    def write(self, note: str) -> None:
        """Let others know something of the holder; harmless when it is not held."""
        ...

    def find_note(self) -> str | None:
        """What the holder wrote last; None if nobody has the lock."""
        ...


class LocalLock:
    """A lock among the threads of this process: `taken` says who has which, with their notes."""

    def __init__(
        self,
        taken: dict[str, tuple[LocalLock, str]],
        name: str,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._taken, self._name, self._clock = taken, name, clock

    def acquire(self, *, patience: float = 0.0) -> bool:
        """Look until it is free, or the patience is over."""
        deadline = 0.0
        while self._taken.setdefault(self._name, (self, ""))[0] is not self:
            now = self._clock.monotonic()
            deadline = deadline or now + patience
            if now >= deadline:
                return False
            self._clock.sleep(random.uniform(_SHORTEST_WAIT, _LONGEST_WAIT))
        return True

    def release(self) -> None:
        """Forget who has it."""
        if self.is_held():
            del self._taken[self._name]

    def is_held(self) -> bool:
        """Whether it was taken."""
        return self._taken.get(self._name, (None,))[0] is self

    def write(self, note: str) -> None:
        """Remember a note."""
        if self.is_held():
            self._taken[self._name] = (self, note)

    def find_note(self) -> str | None:
        """The note, if somebody has the lock."""
        found = self._taken.get(self._name)
        return None if found is None else found[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a lock: its id and host, and since when, in seconds since 1970.

    The id is 0 where the process is not known. `waiting_for` is why it must wait now, and `hint`
    what helps. `rate` is how many events a second it has just handled. `slow` is the call that it
    has been in for too long, since `slow_since`, with its `stack`. `beat` is when it last wrote
    this, by the clock of its host that only goes forward; 0 if it never tells.
    """

    pid: int
    host: str = ""
    since: float = 0.0
    waiting_for: str = ""
    hint: str = ""
    rate: float = 0.0
    slow: str = ""
    slow_since: float = 0.0
    stack: str = ""
    beat: float = 0.0

    @classmethod
    def here(cls, *, since: float = 0.0) -> Holder:
        """This process."""
        return cls(pid=os.getpid(), host=host_name(), since=since)

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this host."""
        return self.host in {"", host_name()}

    @property
    def name(self) -> str:
        """The process id, and the host if that is another one: ``4711 on web-2``; may be empty."""
        if not self.pid:
            return ""
        return str(self.pid) if self.is_here else f"{self.pid} on {self.host}"

    @property
    def text(self) -> str:
        """The same in a sentence: ``process 4711 on web-2``, or ``another process``."""
        return f"process {self.name}" if self.pid else "another process"

    @property
    def note(self) -> str:
        """What it writes of itself: JSON."""
        note = json.dumps({name: getattr(self, name) for name in _TOLD})
        if len(note) <= _LONGEST_NOTE:
            return note
        return replace(self, slow=self.slow[:_LONGEST_CALL], stack="").note

    def silent_seconds(self, now: float) -> float:
        """For how long it has not been heard of, if that is too long; else 0.

        `now` is by the clock of this host, so nothing is said of another: there the server that
        keeps the lock notices.
        """
        silent = now - self.beat if self.beat and self.is_here else 0.0
        return silent if silent > _SILENT_AFTER else 0.0


_TOLD = tuple(field.name for field in fields(Holder))


def find_holder(lock: Lock) -> Holder | None:
    """Who holds a lock now, if anybody does."""
    note = lock.find_note()
    return None if note is None else _parse(note)


def host_name() -> str:
    """How this host is told from others."""
    return socket.gethostname()


def _parse(note: str) -> Holder:
    """The holder as it wrote itself; process 0 in the instant before it has.

    So it is where the note is of a process that is gone: a copy of its descriptor has the lock.
    """
    try:
        told: Any = json.loads(note)
        holder = Holder(**{name: value for name, value in told.items() if name in _TOLD})
        gone = holder.is_here and not is_alive(holder.pid)
    except (ValueError, TypeError, AttributeError):
        return Holder(pid=0)
    return Holder(pid=0) if gone else holder
