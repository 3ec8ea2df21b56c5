"""Claims as the log says they must be, kept in a private temporary database.

There may be as many claims as events: what does not fit into memory goes to a temporary file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from eskit.domain.events import EventRow
from eskit.store.adding import run_claims
from eskit.store.records import ClaimRow

_TABLES = """
CREATE TABLE claims (
    tenant TEXT, index_name TEXT, value TEXT, stream TEXT,
    PRIMARY KEY (tenant, index_name, value)
) WITHOUT ROWID;
CREATE TABLE corrections (
    tenant TEXT, index_name TEXT, value TEXT, stream TEXT, taken INTEGER
);
"""
_CACHE_KIB = 16 * 1024
_FIND = "SELECT stream FROM claims WHERE tenant = ? AND index_name = ? AND value = ?"
_SAVE = "INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)"
_DELETE = "DELETE FROM claims WHERE tenant = ? AND index_name = ? AND value = ?"
_HELD = "SELECT * FROM claims ORDER BY tenant, index_name, value"


class ClaimLedger:
    """Takes events in the order of positions, and holds what their claims come to."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        # Nobody else reads it and nobody needs it twice: no journal, and some memory for it.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.executescript(_TABLES)
        self._database.execute("BEGIN")

    def add(self, record: EventRow) -> None:
        """Run the claims of one event; raises ClaimTaken and ValueError for what cannot be."""
        if record.claims is None:
            return
        for claim, taken in run_claims(record, self._owner):
            self._database.execute(_SAVE if taken else _DELETE, claim if taken else claim[:3])

    def read_claims(self) -> Iterator[ClaimRow]:
        """What is held, sorted."""
        return map(ClaimRow._make, self._database.execute(_HELD))

    def note(self, claim: ClaimRow, *, taken: bool) -> None:
        """Remember a correction: a value that must be the stream's, or must be free."""
        self._database.execute("INSERT INTO corrections VALUES (?, ?, ?, ?, ?)", (*claim, taken))

    def corrections(self) -> Iterator[tuple[ClaimRow, bool]]:
        """What was noted."""
        for *claim, taken in self._database.execute("SELECT * FROM corrections"):
            yield ClaimRow(*claim), bool(taken)

    def close(self) -> None:
        """Remove the temporary database."""
        self._database.close()

    def _owner(self, tenant: str, index: str, value: str) -> str | None:
        row = self._database.execute(_FIND, (tenant, index, value)).fetchone()
        return None if row is None else str(row[0])
