"""Damage that a store has to notice."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from eskit.store.appending import MAX_POSITION
from eskit.store.sqlite import checksums
from eskit.store.sqlite.keys import AFTER_ALL_COMMANDS, BEFORE_ALL_COMMANDS
from eskit.store.sqlite.queries import query


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


def seal(path: Path) -> None:
    """Make the checksums of all records fit them, as who wrote them like this would have."""
    connection = sqlite3.connect(path)
    checksums.add_functions(connection)
    with connection:
        connection.execute("UPDATE events SET record_checksum = NULL")
        connection.execute(query("renew_event_checksums"), (0, MAX_POSITION))
        bounds = *BEFORE_ALL_COMMANDS, *AFTER_ALL_COMMANDS
        connection.execute(query("renew_command_checksums"), bounds)
    connection.close()
