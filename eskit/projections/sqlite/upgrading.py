"""What older versions of eskit kept in a table for each kind, read into records and dropped."""

# ruff: noqa: S608 - statements are made of the names below only

from __future__ import annotations

import sqlite3
from typing import Any

from eskit.domain.time import from_microseconds
from eskit.projections import bookkeeping
from eskit.projections.port import ReadModel
from eskit.projections.records import (
    AppliedMigration,
    Decision,
    Effect,
    EventPosition,
    Failure,
    ProjectionDeadLetter,
    ProjectionState,
    Skip,
)

_TIMES = {"failed_at", "applied_at", "decided_at", "since", "updated_at"}
_OLDER = (
    "eskit_projections",
    "eskit_failures",
    "eskit_migrations",
    "eskit_pauses",
    "eskit_decisions",
    "eskit_letters",
    "eskit_skips",
    "eskit_effects",
)


def read_older_bookkeeping(model: ReadModel[Any], connection: sqlite3.Connection) -> None:
    """Keep as records what versions 1 to 3 of eskit's tables hold; part of the transaction."""
    older = {table: _rows(connection, table) for table in _OLDER}
    _read_states(model, older["eskit_projections"], older["eskit_pauses"])
    for row in older["eskit_failures"]:
        bookkeeping.save_failure(model, Failure(**row))
    for row in older["eskit_migrations"]:
        bookkeeping.save_migration(model, AppliedMigration(**row))
    for row in sorted(older["eskit_decisions"], key=lambda row: int(row.pop("id"))):
        bookkeeping.save_decision(model, Decision(**row))
    for row in older["eskit_letters"]:
        holds = bool(row.pop("holds_stream"))
        bookkeeping.save_dead_letter(model, ProjectionDeadLetter(**row, holds_stream=holds))
    for row in older["eskit_skips"]:
        bookkeeping.save_skip(model, Skip(**row))
    for row in older["eskit_effects"]:
        called = row.pop("called_at") is not None
        effect = Effect(**row)
        bookkeeping.record_effect(model, effect)
        if called:
            bookkeeping.finish_effect(model, effect)
    for table in _OLDER:
        connection.execute(f"DROP TABLE IF EXISTS {table}")


def _read_states(
    model: ReadModel[Any], states: list[dict[str, Any]], pauses: list[dict[str, Any]]
) -> None:
    reasons = {row["projection"]: row["reason"] for row in pauses}
    for row in states:
        state = ProjectionState(
            name=row["name"],
            version=row["version"],
            store_id=row["store_id"],
            # Version 3 added the place.
            checkpoint=EventPosition(row["position"], row["event_id"], row.get("place", "")),
            updated_at=row["updated_at"],
            pause=reasons.get(row["name"]),
        )
        bookkeeping.save_state(model, state)


def _rows(connection: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    """Rows by column; none where that version had no such table."""
    known = connection.execute(
        "SELECT 1 FROM main.sqlite_master WHERE name = ?", (table,)
    ).fetchone()
    if not known:
        return []
    cursor = connection.execute(f"SELECT * FROM main.{table}")
    names = [column[0] for column in cursor.description]
    return [
        {
            name: from_microseconds(value) if name in _TIMES else value
            for name, value in zip(names, row, strict=True)
        }
        for row in cursor
    ]
