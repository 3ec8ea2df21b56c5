"""Claims as the log says they must be, kept in a private temporary database.

There may be as many claims as events: what does not fit into memory goes to a temporary file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from eskit.domain.events import EventRow
from eskit.store.maintenance import HeldClaim
from eskit.store.restoring import changed_claims

_TABLES = """
CREATE TABLE claims (
    tenant TEXT, index_name TEXT, value TEXT, stream TEXT,
    PRIMARY KEY (tenant, index_name, value)
) WITHOUT ROWID;
CREATE TABLE corrections (tenant TEXT, index_name TEXT, value TEXT, stream TEXT);
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
        for change in changed_claims(
            record, lambda index, value: self._owner(record.tenant, index, value)
        ):
            key = record.tenant, change.index, change.value
            if change.taken:
                self._database.execute(_SAVE, (*key, record.stream))
            else:
                self._database.execute(_DELETE, key)

    def read_claims(self) -> Iterator[HeldClaim]:
        """What is held, sorted."""
        return map(HeldClaim._make, self._database.execute(_HELD))

    def note(self, claim: HeldClaim) -> None:
        """Remember a correction; an empty stream stands for a value that must be free."""
        self._database.execute("INSERT INTO corrections VALUES (?, ?, ?, ?)", claim)

    def corrections(self) -> Iterator[HeldClaim]:
        """What was noted."""
        return map(HeldClaim._make, self._database.execute("SELECT * FROM corrections"))

    def close(self) -> None:
        """Remove the temporary database."""
        self._database.close()

    def _owner(self, tenant: str, index: str, value: str) -> str | None:
        row = self._database.execute(_FIND, (tenant, index, value)).fetchone()
        return None if row is None else str(row[0])
