"""The write transaction of a connection, and the events that it still has to insert."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TypeAlias

from eskit.clock import Clock
from eskit.sqlite.connections import begin_immediate, roll_back
from eskit.store.sqlite.append_cache import AppendCache
from eskit.store.sqlite.queries import query

NewRow: TypeAlias = tuple[int, int, int, int, bytes, int, str, str | None, bytes, int]
"""A row of the events table, in the order of ``insert_event.sql``."""


class Transaction:
    """Transactions on one connection, one after another: each of one append, or of many.

    `rows` are inserted together before it is committed, or before somebody looks: SQLite lets
    other threads in at every statement, and among many of them each such gap is a switch.
    """

    __slots__ = ("_connection", "_cursor", "rows", "tip")

    def __init__(self, connection: sqlite3.Connection, tip: AppendCache) -> None:
        self.tip = tip
        self.rows: list[NewRow] = []
        self._connection = connection
        # One cursor for all: a connection makes a new one for each statement that it runs itself.
        self._cursor = connection.cursor()

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection itself, for what is no transaction."""
        return self._connection

    @property
    def is_open(self) -> bool:
        """Whether it was begun and not ended."""
        return self._connection.in_transaction

    @property
    def cursor(self) -> sqlite3.Cursor:
        """Runs a statement that may read or change events."""
        if self.rows:
            self._insert()
        return self._cursor

    @property
    def beside_events(self) -> sqlite3.Cursor:
        """Runs a statement to which events of this transaction need not be there yet."""
        return self._cursor

    @property
    def changes(self) -> int:
        """Grows with every change; rows count before they are inserted."""
        return self._connection.total_changes + len(self.rows)

    def begin(self, url: str, timeout: float, clock: Clock) -> None:
        """Take the write lock, waiting at most `timeout` seconds; then StoreUnavailable."""
        self.rows.clear()
        begin_immediate(self._cursor, url, timeout, clock)

    def finish(self) -> None:
        """Insert what is left."""
        if self.rows:
            self._insert()

    def commit(self) -> None:
        """End it with its changes; `finish` comes first."""
        self._cursor.execute("COMMIT")

    def roll_back(self) -> None:
        """End it without its changes, if it is open."""
        roll_back(self._connection)

    def close(self) -> None:
        """Close the connection; idempotent."""
        with contextlib.suppress(sqlite3.ProgrammingError):  # closed by a time that did not end
            self._cursor.close()  # with a statement on it the file would stay open
        self._connection.close()

    def _insert(self) -> None:
        rows = self.rows
        if len(rows) == 1:
            self._cursor.execute(query("insert_event"), rows[0])
        else:
            self._cursor.executemany(query("insert_event"), rows)
        rows.clear()
