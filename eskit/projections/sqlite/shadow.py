"""Rows built in a second file beside the live one, under the same table names.

It is opened as ``main``, so handlers need not know. The live file is attached read-only: what
other projections keep there can be read, and what is written goes nowhere else.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from eskit.clock import Clock
from eskit.projections.differences import TableDifference
from eskit.projections.port import Purpose
from eskit.projections.records import Kind, Record
from eskit.projections.sqlite.comparison import compare_tables
from eskit.projections.sqlite.connection import WriteLock, translated
from eskit.projections.sqlite.read_model import SqliteReadModel
from eskit.projections.sqlite.sql import query
from eskit.sqlite.url import file_uri


class SqliteShadowReadModel(SqliteReadModel):
    """See `eskit.projections.port.ShadowReadModel`."""

    def __init__(self, path: Path, *, live: Path, file_mode: int, clock: Clock) -> None:
        lock = WriteLock(Path(f"{path}-lock"), clock=clock, mode=file_mode)
        super().__init__(path, lock=lock, file_mode=file_mode)
        try:
            with translated(live):
                self._connection.execute("ATTACH ? AS live", (file_uri(live, mode="ro"),))
        except BaseException:
            self.close()
            raise

    @property
    def live(self) -> LiveRecords:
        """The eskit_records of the live file."""
        return LiveRecords(self._connection, self.path)

    def compare(self, name: str, *, examples: int, in_order: bool) -> list[TableDifference]:
        """Table by table inside SQLite."""
        with translated(self.path):
            return compare_tables(self._connection, name, examples=examples, in_order=in_order)


class LiveRecords:
    """The records of the live rows, seen from the connection of the shadow rows."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def records(self, kind: Kind, name: str | None = None, key: str | None = None) -> list[Record]:
        """Rows of eskit_records."""
        with translated(self._path):
            rows = self._connection.execute(query("list_live_records"), (kind,)).fetchall()
        found = [Record(*row) for row in rows]
        return [
            record
            for record in found
            if name in {None, record.projection} and key in {None, record.key}
        ]


def shadow_path(live: Path, name: str, purpose: Purpose) -> Path:
    """Where shadow rows of a projection are built."""
    return Path(f"{live}-{purpose}-{name}")
