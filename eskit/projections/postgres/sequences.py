"""Sequences that count on where the rows are, also after a transaction that was undone.

PostgreSQL gives a number once, whatever becomes of the transaction that asked for it. Then rows
that a rebuild makes would have other numbers. So each transaction notes where it leaves the
sequences of its projections, and the next one puts them back there.
"""

from __future__ import annotations

from eskit.projections.postgres.sql import query
from eskit.projections.postgres.statements import Statements


class Sequences:
    """Those of the projections in one schema."""

    def __init__(self, statements: Statements, schema: str) -> None:
        self._statements = statements
        self._schema = schema
        self._known: dict[str, list[int]] = {}
        self._begun: set[str] = set()

    def begin(self) -> None:
        """Begin with a transaction, which has locked no projection yet."""
        self._begun.clear()

    def take(self, projection: str, *, put_back: bool) -> None:
        """Let those of a projection, which was locked, count on after its last committed row.

        Without `put_back` their place is only noted at the end.
        """
        self._begun.add(projection)
        oids = self._find(projection) if put_back else ()
        if oids:
            self._statements.add(query("put_back_sequences", self._schema), (oids,))

    def note(self) -> None:
        """Note where they are; last in the transaction."""
        for projection in self._begun:
            oids = self._find(projection)
            if oids:
                self._statements.add(query("note_sequences", self._schema), (oids,))

    def forget(self) -> None:
        """Look again which there are: tables were made or exchanged."""
        self._known.clear()

    def _find(self, projection: str) -> list[int]:
        if projection not in self._known:
            rows = self._statements.add(query("list_sequences", self._schema), (projection,))
            self._known[projection] = [oid for (oid,) in rows]
        return self._known[projection]
