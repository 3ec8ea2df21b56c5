"""The write transaction that is open, and the events that it still has to insert."""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from eskit.store.sqlite.queries import query
from eskit.store.sqlite.tip import Tip

NewRow: TypeAlias = tuple[int, int, int, int, bytes, int, str, str | None, bytes, int]
"""A row of the events table, in the order of ``insert_event.sql``."""


class Transaction:
    """One transaction, of one append or of many that share it.

    `rows` are inserted together before it is committed, or before somebody looks: SQLite lets
    other threads in at every statement, and among many of them each such gap is a switch.
    """

    __slots__ = ("_cursor", "rows", "tip")

    def __init__(self, cursor: sqlite3.Cursor, tip: Tip) -> None:
        self.tip = tip
        self._cursor = cursor
        self.rows: list[NewRow] = []

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
    def changes(self) -> tuple[int, int]:
        """Grows with every change."""
        return self._cursor.connection.total_changes, len(self.rows)

    def finish(self) -> None:
        """Insert what is left."""
        if self.rows:
            self._insert()

    def _insert(self) -> None:
        rows, self.rows = self.rows, []
        if len(rows) == 1:
            self._cursor.execute(query("insert_event"), rows[0])
        else:
            self._cursor.executemany(query("insert_event"), rows)
