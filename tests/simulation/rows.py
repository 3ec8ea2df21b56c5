"""The rows of projections: written by handlers into SQLite or memory, and read past eskit."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from tests.simulation.memory import MemoryRows, Total


class SqlRows:
    """What handlers write, in the statements of SQLite."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def find_total(self, name: str, stream: str) -> Total | None:
        """What was added up of a stream."""
        found: Total | None = self._db.execute(
            f"SELECT events, total, digest FROM {name}_totals WHERE stream = ?", (stream,)
        ).fetchone()
        return found

    def add(self, name: str, position: int, stream: str) -> None:
        """Keep an event that was handled."""
        self._db.execute(
            f"INSERT INTO {name}_handled (position, stream) VALUES (?, ?)", (position, stream)
        )

    def put_total(self, name: str, stream: str, total: Total) -> None:
        """Keep what was added up."""
        self._db.execute(
            f"INSERT OR REPLACE INTO {name}_totals (stream, events, total, digest) "
            "VALUES (?, ?, ?, ?)",
            (stream, *total),
        )

    def break_constraint(self, name: str) -> None:
        """Write a row that may not be so."""
        self._db.execute(f"UPDATE {name}_handled SET position = NULL")


def rows_of(db: Any) -> SqlRows | MemoryRows:
    """How a handler writes into what it was given."""
    return db if isinstance(db, MemoryRows) else SqlRows(db)


class RowsInFile:
    """A file of rows, read by a connection of its own; nothing while there is no file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def rows(self, name: str) -> list[tuple[int, str]]:
        """The events that a projection handled, in order, with their streams."""
        return self._query(f"SELECT position, stream FROM {name}_handled ORDER BY id")

    def totals(self, name: str) -> dict[str, Total]:
        """What it has added up, by stream."""
        found = self._query(f"SELECT stream, events, total, digest FROM {name}_totals")
        return {stream: (events, total, digest) for stream, events, total, digest in found}

    def version(self) -> int:
        """Another one whenever anybody has written to the file; 0 while there is none."""
        connection = self._connect()
        if connection is None:
            return 0
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        return int(version)

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()

    def _query(self, statement: str) -> list[tuple[Any, ...]]:
        connection = self._connect()
        if connection is None:
            return []
        try:
            return connection.execute(statement).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise

    def _connect(self) -> sqlite3.Connection | None:
        if self._connection is None and self._path.exists():
            self._connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        return self._connection
