"""Ctrl-C while SQLite is at work on one long statement.

Python handles a signal between two steps of its own, and such a statement is one step, however long
it takes. So SQLite asks every now and then whether to continue; Ctrl-C comes up in that question,
ends the statement, and is raised where the statement was run.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Self

_STEPS = 100_000
"""So many instructions of SQLite's machine take about a millisecond."""
_execute = sqlite3.Cursor.execute
_make_cursor = sqlite3.Connection.cursor


def let_interrupt(connection: sqlite3.Connection) -> None:
    """Have Ctrl-C end a long statement, with SQLITE_INTERRUPT; only the main thread hears it."""
    connection.set_progress_handler(_go_on, _STEPS)


def was_interrupted(error: BaseException) -> bool:
    """Whether it was Ctrl-C that ended a statement."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT


class InterruptibleCursor(sqlite3.Cursor):
    """Raises KeyboardInterrupt for it, which no handler takes for an error of its own."""

    __slots__ = ()

    def execute(self, *args: Any) -> Self:
        """Run a statement."""
        try:
            return super().execute(*args)
        except sqlite3.OperationalError as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            raise

    def executemany(self, *args: Any) -> Self:
        """Run a statement for each row."""
        try:
            return super().executemany(*args)
        except sqlite3.OperationalError as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            raise

    def executescript(self, *args: Any) -> Self:
        """Run many statements."""
        try:
            super().executescript(*args)
        except sqlite3.OperationalError as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            raise
        return self

    def fetchone(self) -> Any:
        """Find the next row."""
        try:
            return super().fetchone()
        except sqlite3.OperationalError as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            raise

    def fetchmany(self, *args: Any, **options: Any) -> list[Any]:
        """Find the next rows."""
        try:
            return super().fetchmany(*args, **options)
        except sqlite3.OperationalError as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            raise

    def fetchall(self) -> list[Any]:
        """Find all rows that are left."""
        try:
            return super().fetchall()
        except sqlite3.OperationalError as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            raise

    def __next__(self) -> Any:
        """Find the next row."""
        try:
            return super().__next__()
        except sqlite3.OperationalError as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            raise


class InterruptibleConnection(sqlite3.Connection):
    """A connection whose statements Ctrl-C ends, whoever runs them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        let_interrupt(self)

    def cursor(self, *_: Any) -> InterruptibleCursor:  # type: ignore[override]
        """Make a cursor."""
        return super().cursor(InterruptibleCursor)

    def execute(self, *args: Any) -> InterruptibleCursor:
        """Run a statement."""
        # In one step of Python: every statement of every handler comes through here. Only the
        # connection's own way to make a cursor forgets the cursors that are gone.
        cursor = _make_cursor(self, InterruptibleCursor)
        try:
            _execute(cursor, *args)
        except sqlite3.OperationalError as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            raise
        return cursor

    def executemany(self, *args: Any) -> InterruptibleCursor:
        """Run a statement for each row."""
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> InterruptibleCursor:
        """Run many statements."""
        return self.cursor().executescript(*args)


def _go_on() -> int:
    return 0
