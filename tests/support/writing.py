"""What tests do to a store that is writing: hold it, watch it, and take answers from it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from eskit.clock import SystemClock, Waitable
from eskit.store.sqlite import commits

_PATIENCE = 20.0


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Gate(SystemClock):
    """A clock that holds the append that reads it while the gate is shut; it is open at first.

    `once` is called when it is read the next time.
    """

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()
        self.opened.set()
        self.once: Callable[[], object] | None = None
        self._passes = threading.Semaphore(0)
        self._counting = threading.Lock()
        self._callers = 0

    def microseconds(self) -> int:
        """The time, when the gate is open."""
        once, self.once = self.once, None
        if once is not None:
            once()
        self.arrived.set()
        until(lambda: self.opened.is_set() or self._passes.acquire(blocking=False))
        return super().microseconds()

    def wait(self, event: Waitable, timeout: float | None = None) -> bool:
        """Wait as ever, and count who does so without end: callers that wait for the writer."""
        if timeout is not None:
            return super().wait(event, timeout)
        with self._counting:
            self._callers += 1
        try:
            return super().wait(event, timeout)
        finally:
            with self._counting:
                self._callers -= 1

    def shut(self) -> None:
        """Hold the next append."""
        self.arrived.clear()
        self.opened.clear()

    def let_one_pass(self) -> None:
        """Let the append that is held go on, and hold the next."""
        self.arrived.clear()
        self._passes.release()

    def wait_for_callers(self, number: int, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait until so many callers wait for the writer."""
        until(lambda: self._callers >= number or unless())


def connections_that_write(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[sqlite3.Connection], Any] | None = None
) -> list[Any]:
    """The connections with which stores write from now on, the last one at the end.

    `change` makes of each what the store is given.
    """
    made: list[Any] = []
    connect = commits.connect

    def keep(*args: Any, **options: Any) -> Any:
        connection = connect(*args, **options)
        made.append(connection if change is None else change(connection))
        return made[-1]

    monkeypatch.setattr(commits, "connect", keep)
    return made


class LosesAnAnswer:
    """A connection one of whose commits, once it is armed, is carried out or not, and fails."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._armed: tuple[bool, int] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def arm(self, *, committed: bool, after: int = 0) -> None:
        """Fail a commit `after` others; `committed` says whether it is carried out."""
        self._armed = committed, after

    def next_loses(self) -> bool | None:
        """Whether a commit that fails is carried out; None if it does not fail."""
        if self._armed is None:
            return None
        committed, after = self._armed
        self._armed = (committed, after - 1) if after else None
        return None if after else committed

    def cursor(self) -> Any:
        """A cursor that loses the answer."""
        return _Cursor(self._connection.cursor(), self)


class _Cursor:
    def __init__(self, cursor: sqlite3.Cursor, connection: LosesAnAnswer) -> None:
        self._cursor = cursor
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, statement: str, *parameters: Any) -> Any:
        committed = self._connection.next_loses() if statement == "COMMIT" else None
        if committed is None:
            return self._cursor.execute(statement, *parameters)
        self._cursor.execute("COMMIT" if committed else "ROLLBACK")
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error
