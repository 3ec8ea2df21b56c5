"""Connections to the file: how they are opened, and the pool that reads share."""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias, TypeVar

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import StoreUnavailable
from eskit.sqlite import forking
from eskit.sqlite.errors import primary_code
from eskit.sqlite.url import file_uri

Result = TypeVar("Result")
Runs: TypeAlias = sqlite3.Connection | sqlite3.Cursor
"""What runs a statement."""

_SHORTEST_WAIT, _LONGEST_WAIT = 0.0002, 0.005
_READER_BUSY_TIMEOUT = 5.0


def connect(path: Path, *, mode: str) -> sqlite3.Connection:
    """A connection in autocommit mode; `mode` is SQLite's: ro, rw or rwc.

    It waits for nothing: who writes has a wait of its own, see `begin_immediate`. Raises
    StoreUnavailable for a file that was open when this process was forked.
    """
    check_not_forked(path)
    return sqlite3.connect(
        file_uri(path, mode=mode),
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )


def check_not_forked(path: Path) -> None:
    """Raise StoreUnavailable for a file that was open when this process was forked."""
    forking.refuse_inherited(path, str(path), StoreUnavailable)


def begin_immediate(
    connection: Runs, url: str, timeout: float, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Take the write lock, waiting at most `timeout` seconds; then StoreUnavailable."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if primary_code(error) != sqlite3.SQLITE_BUSY:
            raise
        wait_while_busy(lambda: connection.execute("BEGIN IMMEDIATE"), url, timeout, clock)


def wait_while_busy(
    work: Callable[[], Result], url: str, timeout: float, clock: Clock = SYSTEM_CLOCK
) -> Result:
    """Try until the file is free, at most `timeout` seconds; then StoreUnavailable.

    SQLite's own busy handler sleeps ever longer, so that under load some processes never get
    their turn; short random waits share the lock evenly.
    """
    deadline = clock.monotonic() + timeout
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if primary_code(error) != sqlite3.SQLITE_BUSY:
                raise
            if clock.monotonic() >= deadline:
                raise StoreUnavailable(
                    f"{url} was locked by another process for {timeout:g} s",
                    hint="Try again when it has finished, or raise ?busy_timeout=SECONDS.",
                ) from error
        clock.sleep(random.uniform(_SHORTEST_WAIT, _LONGEST_WAIT))


def begin_reading(connection: sqlite3.Connection) -> None:
    """Open a read transaction: all that is read in it is of this moment."""
    connection.execute("BEGIN")
    connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # BEGIN alone fixes nothing


def roll_back(connection: sqlite3.Connection) -> None:
    """End the open transaction without its changes, if there still is one."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


class ReaderPool:
    """Read-only connections, made when needed and given back after every page.

    `check` is called before each page, with the connection that is to read it if it is open, and
    may refuse it; `made` is called when a new one has read.
    """

    def __init__(
        self,
        make: Callable[[], sqlite3.Connection],
        check: Callable[[sqlite3.Connection | None], None],
        made: Callable[[], None],
    ) -> None:
        self._make = make
        self._check = check
        self._made = made
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """A connection for one page; no transaction may stay open on it."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        try:
            self._check(connection)
            connection = connection or self._open()
            yield connection
        finally:
            if connection is not None:
                self._give_back(connection)

    def close(self) -> None:
        """Close what is idle; a connection in use is closed when it is given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        roll_back(connection)
        with self._lock:
            closed = self._closed
            if not closed:
                self._idle.append(connection)
        if closed:
            connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = self._make()
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA busy_timeout = {int(_READER_BUSY_TIMEOUT * 1000)}")
            connection.execute("SELECT 1 FROM sqlite_master").fetchone()
        except BaseException:
            connection.close()
            raise
        self._made()
        return connection
