"""Damage that a store has to notice."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def empty_an_index(path: Path) -> None:
    """Leave the index by kind without entries, while the file says that it has them all."""
    for condition, reindex in ((" WHERE 0", True), ("", False)):
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA writable_schema = ON")
        with connection:
            sql = f"CREATE INDEX events_by_kind ON events (kind_id){condition}"
            connection.execute(
                "UPDATE sqlite_master SET sql = ? WHERE name = 'events_by_kind'", (sql,)
            )
        connection.close()
        if reindex:
            connection = sqlite3.connect(path)
            with connection:
                connection.execute("REINDEX events_by_kind")
            connection.close()


def overwrite_root(path: Path, table: str) -> None:
    """Fill the first page of a table with noise."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    statement = "SELECT rootpage FROM sqlite_master WHERE name = ?"
    (page,) = connection.execute(statement, (table,)).fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    raw = bytearray(path.read_bytes())
    raw[(page - 1) * size : page * size] = b"\xa5" * size
    path.write_bytes(raw)
