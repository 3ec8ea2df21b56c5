"""What handlers and queries are given: SQL for PostgreSQL, in psycopg's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from eskit.errors import InvalidArgument
from eskit.projections.postgres.statements import Parameters, Rows, Statements

_FIRST_WORDS = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/|;)*(\w+)", re.DOTALL)
_ENDS_A_TRANSACTION = {
    *("begin", "start", "commit", "end", "abort", "rollback", "prepare"),
    *("savepoint", "release", "discard", "deallocate"),
}


class PostgresDatabase:
    """The read model inside the engine's transaction, or one moment of it for a query.

    Parameters are ``%s`` or ``%(name)s``. A statement is put off until somebody asks what it gave,
    or until the events of a batch are handled: then many are sent at once. So an error shows where
    a result is read, or after the handler. To catch one, read inside `transaction`, which undoes
    what is in it: PostgreSQL accepts nothing more in a transaction in which a statement failed.
    """

    def __init__(
        self, statements: Statements, transaction: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._statements = statements
        self._transaction = transaction

    def execute(self, sql: str, parameters: Parameters | None = None, /) -> Rows:
        """Run one statement, when it is time; raises psycopg.Error."""
        _check(sql)
        return self._statements.add(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Parameters], /) -> None:
        """Run one statement with each of some parameters."""
        _check(sql)
        for given in parameters:
            self._statements.add(sql, given)

    def query(self, sql: str, parameters: Parameters | None = None, /) -> list[dict[str, Any]]:
        """The rows that a statement gives, by column."""
        rows = self.execute(sql, parameters)
        names = [column[0] for column in rows.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def transaction(self) -> AbstractContextManager[None]:
        """A block that is undone alone when it raises, as psycopg's inside a transaction."""
        return self._transaction()

    def __repr__(self) -> str:
        return "<PostgresDatabase of a read model>"


@lru_cache(maxsize=1_000)
def _check(sql: str) -> None:
    """Refuse what ends or splits the transaction, which also holds the checkpoint."""
    match = _FIRST_WORDS.match(sql)
    word = match[1].lower() if match else ""
    if word in _ENDS_A_TRANSACTION:
        raise InvalidArgument(
            f"{word.upper()} in a handler or query: the transaction is the engine's",
            hint="Write `with context.db.transaction():` for what is to be undone alone.",
        )
    if word == "copy":
        raise InvalidArgument(
            "COPY in a handler or query, which cannot send its rows",
            hint="Use executemany, whose statements are sent together.",
        )
