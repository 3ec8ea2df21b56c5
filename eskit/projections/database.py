"""The read model as handlers and queries see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    import sqlite_utils
    import typing_extensions

    _Base = sqlite_utils.Database
else:
    _Base = object


class Database(_Base):
    """A `sqlite_utils.Database` over an open connection that is only built when needed.

    `execute`, `executemany` and `conn` are those of the sqlite3 connection: nothing lies between
    a hot handler and SQLite. Everything else (`db["table"].upsert(…)`, `db.query(…)`) loads
    sqlite-utils on first use and goes to a `sqlite_utils.Database` on the same connection.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.conn = connection
        # The raw method takes what sqlite-utils' does, and more kinds of parameters.
        self.execute = connection.execute  # type: ignore[method-assign]
        self.executemany = connection.executemany

    if TYPE_CHECKING:
        # What sqlite3 takes, in types that a strict checker of the user's code knows.
        def execute(  # type: ignore[override]
            self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ..., /
        ) -> sqlite3.Cursor:
            """Run one statement."""

    else:

        def __getitem__(self, name: str) -> Any:
            return self._comfort[name]

        def __getattr__(self, name: str) -> Any:
            if name == "_comfort":
                import sqlite_utils

                # Neither plugins nor a changed pragma: what a handler does must not depend on
                # whether something used sqlite-utils before it.
                self._comfort = sqlite_utils.Database(
                    self.conn, recursive_triggers=False, execute_plugins=False
                )
                return self._comfort
            return getattr(self._comfort, name)

    def __repr__(self) -> str:
        return "<Database of a read model>"


if TYPE_CHECKING:
    Db = typing_extensions.TypeVar("Db", default=Database)
else:
    Db = TypeVar("Db")
