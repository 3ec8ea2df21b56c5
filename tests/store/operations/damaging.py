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
