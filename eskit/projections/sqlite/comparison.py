"""Comparing the tables of two attached databases, row by row, inside SQLite."""

# ruff: noqa: S608 - statements are made of quoted names only

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from eskit.projections.differences import Row, RowDifference, TableDifference
from eskit.projections.sqlite.exchange import quoted

_LIVE, _REBUILT = "live", "main"


def compare_tables(
    connection: sqlite3.Connection, projection: str, *, examples: int
) -> list[TableDifference]:
    """Compare what was built in ``main`` with ``live``; up to so many example rows a table."""
    owned = {
        name
        for (name,) in connection.execute(
            "SELECT name FROM live.eskit_objects WHERE projection = ?", (projection,)
        )
    }
    live, rebuilt = _tables(connection, _LIVE), _tables(connection, _REBUILT)
    return [
        _compare(connection, table, live=table in live, rebuilt=table in rebuilt, limit=examples)
        for table in sorted(rebuilt | (live & owned))
    ]


def _tables(connection: sqlite3.Connection, schema: str) -> set[str]:
    rows = connection.execute(f"PRAGMA {schema}.table_list").fetchall()
    return {
        name
        for _, name, kind, *_ in rows
        if kind in {"table", "virtual"} and not name.startswith(("sqlite_", "eskit_"))
    }


def _compare(
    connection: sqlite3.Connection, table: str, *, live: bool, rebuilt: bool, limit: int
) -> TableDifference:
    live_rows = _count(connection, f"{_LIVE}.{quoted(table)}") if live else 0
    rebuilt_rows = _count(connection, f"{_REBUILT}.{quoted(table)}") if rebuilt else 0
    problem, differing = "", 0
    found: tuple[RowDifference, ...] = ()
    if not live:
        problem = "is missing"
    elif not rebuilt:
        problem = "is no longer made"
    else:
        columns = _columns(connection, _REBUILT, table)
        if sorted(columns) != sorted(_columns(connection, _LIVE, table)):
            problem = "has other columns"
        else:
            comparison = _Comparison(connection, table, columns)
            differing, found = comparison.count(), comparison.examples(limit)
    return TableDifference(
        table=table,
        live_rows=live_rows,
        rebuilt_rows=rebuilt_rows,
        differing=differing,
        examples=found,
        problem=problem,
    )


class _Comparison:
    """One table with the same columns on both sides.

    Rows are paired by primary key, without one each row stands for itself, so often as it is
    there. Texts are compared byte by byte, whatever the column's collation.
    """

    def __init__(self, connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> None:
        self._connection = connection
        self._columns = list(columns)
        self._key = _primary_key(connection, table)
        self._live = f"{_LIVE}.{quoted(table)}"
        self._rebuilt = f"{_REBUILT}.{quoted(table)}"

    def count(self) -> int:
        """How many rows are wrong, missing or too many."""
        wrong_or_missing = _count(self._connection, f"({self._only(self._rebuilt, self._live)})")
        return wrong_or_missing + _count(self._connection, f"({self._surplus()})")

    def examples(self, limit: int) -> tuple[RowDifference, ...]:
        """Some of them, wrong and missing ones first."""
        wanted = self._read(f"{self._only(self._rebuilt, self._live)} LIMIT {limit}")
        found = [RowDifference(live=self._find_live(row), rebuilt=row) for row in wanted]
        surplus = self._read(f"{self._surplus()} LIMIT {limit - len(found)}")
        return (*found, *(RowDifference(live=row, rebuilt=None) for row in surplus))

    def _only(self, one: str, other: str) -> str:
        """The rows of one table that are not, or not as often, in the other."""
        rows = ", ".join(f"{quoted(name)} COLLATE BINARY" for name in self._columns)
        select = f"SELECT {rows}, COUNT(*) FROM {{}} GROUP BY {rows}"
        return f"{select.format(one)} EXCEPT {select.format(other)}"

    def _surplus(self) -> str:
        """The live rows that should not be at all; a wrong one is not among them."""
        only = self._only(self._live, self._rebuilt)
        if not self._key:
            return only
        names = ", ".join(map(quoted, self._columns))
        same = " AND ".join(f"r.{quoted(name)} IS l.{quoted(name)}" for name in self._key)
        return (
            f"SELECT {names}, 1 FROM {self._live} AS l "
            f"WHERE NOT EXISTS (SELECT 1 FROM {self._rebuilt} AS r WHERE {same})"
        )

    def _find_live(self, row: Row) -> Row | None:
        if not self._key:
            return None
        names = ", ".join(map(quoted, self._columns))
        same = " AND ".join(f"{quoted(name)} IS ?" for name in self._key)
        found = self._read(
            f"SELECT {names} FROM {self._live} WHERE {same}",
            [row[name] for name in self._key],
        )
        return found[0] if found else None

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        rows = self._connection.execute(sql, parameters).fetchall()
        return [dict(zip(self._columns, row, strict=False)) for row in rows]


def _columns(connection: sqlite3.Connection, schema: str, table: str) -> list[str]:
    info = connection.execute(f"PRAGMA {schema}.table_xinfo({quoted(table)})")
    # Hidden columns of virtual tables are commands; generated ones are compared like any other.
    return [row[1] for row in info if row[6] != 1]


def _primary_key(connection: sqlite3.Connection, table: str) -> list[str]:
    info = connection.execute(f"PRAGMA {_REBUILT}.table_xinfo({quoted(table)})")
    return [row[1] for row in info if row[5]]


def _count(connection: sqlite3.Connection, rows: str) -> int:
    (count,) = connection.execute(f"SELECT COUNT(*) FROM {rows}").fetchone()
    return int(count)
