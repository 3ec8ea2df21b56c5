"""The one connection that writes, and the lock around it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from eskit.errors import StoreUnavailable
from eskit.store.sqlite.connections import begin_immediate, connect, roll_back
from eskit.store.sqlite.errors import translated

Result = TypeVar("Result")


class Writer:
    """Runs work in write transactions, one after another."""

    def __init__(self, path: Path, url: str, *, synchronous: str, busy_timeout: float) -> None:
        self._path = path
        self._url = url
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closed = False

    def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """The result of `work`, delivered after its transaction is committed.

        Whatever it raises ends the transaction without a change.
        """
        with self._lock, translated(self._url):
            connection = self._open()
            begin_immediate(connection, self._url, self._busy_timeout)
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                roll_back(connection)
                raise
            return result

    def close(self) -> None:
        """Wait for the work under way, then close the connection; idempotent."""
        with self._lock:
            self._closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailable(f"{self._url} is closed", hint="Open the store again.")
        if self._connection is None:
            connection = connect(self._path, mode="rw")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            self._connection = connection
        return self._connection
