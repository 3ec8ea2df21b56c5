"""The numbers that stand for streams and kinds in the rows of the log."""

from __future__ import annotations

import sqlite3
from typing import cast

from eskit.sqlite.connections import Runs
from eskit.store.sqlite.queries import query

BEFORE_ALL_COMMANDS, AFTER_ALL_COMMANDS = ("", ""), ("\U0010ffff", "")
"""Keys, of tenant and command id; a tenant is named in ASCII."""


def add_stream(database: Runs, name: str, tenant: str, category: str) -> int:
    """The key of a stream that is not there yet."""
    return _key(database.execute(query("insert_stream"), (name, tenant, category)))


def add_if_new(database: Runs, name: str, tenant: str, category: str) -> int | None:
    """The key of a stream that was not there yet; None if it was."""
    inserted = database.execute(query("insert_stream_if_new"), (name, tenant, category))
    return _key(inserted) if inserted.rowcount else None


def kind_key(database: Runs, category: str, event_type: str) -> int:
    """The key of a kind, which is made if it is new."""
    row = database.execute(query("find_kind"), (category, event_type)).fetchone()
    if row is not None:
        return int(row[0])
    return _key(database.execute(query("insert_kind"), (category, event_type)))


def command_after(database: Runs, key: tuple[str, str], count: int) -> tuple[str, str]:
    """The key so many commands behind another; that behind all if there are not so many."""
    row = database.execute(query("find_command_after"), (*key, count - 1)).fetchone()
    if row is None or not all(isinstance(part, str) for part in row):
        return AFTER_ALL_COMMANDS  # damaged keys that are no text sort behind all that are
    return row[0], row[1]


def _key(inserted: sqlite3.Cursor) -> int:
    # A RETURNING clause would double what the insert costs.
    return cast("int", inserted.lastrowid)
