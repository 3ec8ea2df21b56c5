"""Rows built in a second file beside the live one, under the same table names.

It is opened as ``main``, so handlers need not know. The live file is attached read-only: what
other projections keep there can be read, and what is written goes nowhere else.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from eskit.clock import Clock
from eskit.errors import ProjectionFailed, ReadModelUnavailable
from eskit.projections.differences import TableDifference
from eskit.projections.port import Purpose
from eskit.projections.records import ProjectionState
from eskit.projections.sqlite.comparison import compare_tables
from eskit.projections.sqlite.connection import WriteLock, connect, file_uri, translated
from eskit.projections.sqlite.readmodel import (
    SCHEMA_VERSION,
    SqliteReadModel,
    find_schema_version,
    to_state,
)
from eskit.projections.sqlite.sql import query


class SqliteShadowReadModel(SqliteReadModel):
    """See `eskit.projections.port.ShadowReadModel`."""

    def __init__(
        self,
        path: Path,
        *,
        live: Path,
        file_mode: int,
        fingerprint: str,
        store_id: str,
        clock: Clock,
    ) -> None:
        lock = WriteLock(Path(f"{path}-lock"), clock=clock, mode=file_mode)
        super().__init__(path, lock=lock, file_mode=file_mode)
        try:
            with self.transaction(), translated(path):
                self.connection.executemany(
                    "INSERT OR REPLACE INTO eskit_read_model (key, value) VALUES (?, ?)",
                    [("fingerprint", fingerprint), ("store_id", store_id)],
                )
            with translated(live):
                self.connection.execute("ATTACH ? AS live", (file_uri(live, mode="ro"),))
        except BaseException:
            self.close()
            raise

    def find_live_state(self, name: str) -> ProjectionState | None:
        """The row of the live eskit_projections, if there is one."""
        with translated(self.path):
            row = self.connection.execute(query("find_live_state"), (name,)).fetchone()
        return None if row is None else to_state(row)

    def check_rows(self, name: str) -> None:
        """Let SQLite check the foreign keys, declared ones also where they are not enforced."""
        with translated(self.path):
            broken = self.connection.execute("PRAGMA main.foreign_key_check").fetchall()
        if broken:
            table, rowid, parent, _ = broken[0]
            raise ProjectionFailed(
                f"The rows built for {name!r} are not consistent: row {rowid} of {table} refers to "
                f"a row of {parent} that is not there, and {len(broken) - 1} more",
                hint="The live rows are untouched. Mend the handlers, then rebuild again.",
            )

    def compare(self, name: str, *, examples: int) -> list[TableDifference]:
        """Table by table inside SQLite."""
        with translated(self.path):
            return compare_tables(self.connection, name, examples=examples)


def shadow_path(live: Path, name: str, purpose: Purpose) -> Path:
    """Where rows of a projection are built aside."""
    return Path(f"{live}-{purpose}-{name}")


def can_go_on(path: Path, *, fingerprint: str, store_id: str) -> bool:
    """Whether an unfinished build was begun by the same code on the same store."""
    if not path.exists():
        return False
    try:
        connection = connect(path, mode="ro")
    except ReadModelUnavailable:
        return False
    try:
        if find_schema_version(connection) != SCHEMA_VERSION:
            return False
        begun = dict(connection.execute("SELECT key, value FROM eskit_read_model").fetchall())
        return (begun.get("fingerprint"), begun.get("store_id")) == (fingerprint, store_id)
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()
