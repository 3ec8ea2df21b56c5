"""Comparing the tables of two attached databases inside SQLite, and what is made of them."""

# ruff: noqa: S608 - statements are made of quoted names only

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from eskit.projections.differences import Row, RowDifference, TableDifference
from eskit.projections.sqlite.virtual import (
    find_index_problem,
    has_no_rows,
    is_full_text,
    keeps_texts,
    module_of,
    quoted,
    texts_of,
)

_LIVE, _REBUILT = "live", "main"
_ARTICLE = {"index": "an", "table": "a", "trigger": "a", "view": "a"}


def compare_tables(
    connection: sqlite3.Connection, projection: str, *, examples: int, in_order: bool
) -> list[TableDifference]:
    """Compare what was built in ``main`` with ``live``; up to so many example rows a table.

    Of views, triggers and indexes only those that differ are told of.
    """
    owned = {
        name
        for (name,) in connection.execute(
            "SELECT name FROM live.eskit_objects WHERE projection = ?", (projection,)
        )
    }
    parts = _compare_parts(connection, owned)
    live, rebuilt = _tables(connection, _LIVE), _tables(connection, _REBUILT)
    tables = [
        _compare(connection, table, live, rebuilt, limit=examples, in_order=in_order)
        for table in sorted(rebuilt.keys() | (live.keys() & owned))
    ]
    return [*tables, *parts]


def _tables(connection: sqlite3.Connection, schema: str) -> dict[str, str]:
    """The tables with rows of their own, and their declarations."""
    rows = connection.execute(f"PRAGMA {schema}.table_list").fetchall()
    found = {
        name
        for _, name, kind, *_ in rows
        if kind in {"table", "virtual"} and not name.startswith(("sqlite_", "eskit_"))
    }
    declared = connection.execute(f"SELECT name, sql FROM {schema}.sqlite_master").fetchall()
    return {
        name: sql for name, sql in declared if name in found and not has_no_rows(module_of(sql))
    }


def _compare_parts(connection: sqlite3.Connection, owned: set[str]) -> list[TableDifference]:
    """Views, triggers and indexes that are missing, declared otherwise, or not from migrations."""
    live, rebuilt = _parts(connection, _LIVE), _parts(connection, _REBUILT)
    tables = {table for (kind, _), (table, _) in rebuilt.items() if kind != "view"}
    tables |= owned | _tables(connection, _REBUILT).keys()
    found = {}
    for (kind, name), (_, sql) in rebuilt.items():
        if (kind, name) not in live:
            found[name] = f"is missing: {_ARTICLE[kind]} {kind} that the migrations make"
        elif _words(live[kind, name][1]) != _words(sql):
            found[name] = f"is another {kind} than the migrations make"
    for (kind, name), (table, _) in live.items():
        concerned = name in owned or (kind == "trigger" and table in tables)
        if concerned and (kind, name) not in rebuilt:
            found[name] = f"is {_ARTICLE[kind]} {kind} that no migration makes"
    return [_problem(name, problem) for name, problem in sorted(found.items())]


def _parts(connection: sqlite3.Connection, schema: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Table and declaration of each view, trigger and index, and of tables that only show others'.

    Those that SQLite makes by itself have no declaration.
    """
    rows = connection.execute(
        f"SELECT type, name, tbl_name, sql FROM {schema}.sqlite_master WHERE sql IS NOT NULL"
    ).fetchall()
    return {
        (kind, name): (table, sql)
        for kind, name, table, sql in rows
        if (kind != "table" or has_no_rows(module_of(sql))) and not name.startswith("eskit_")
    }


def _words(sql: str) -> list[str]:
    """A declaration without what SQLite may write otherwise: space and the quotes of names."""
    return re.findall(r"\w+|[^\w\s]", re.sub(r"[\"`\[\]]", "", sql))


def _problem(name: str, problem: str) -> TableDifference:
    return TableDifference(table=name, live_rows=0, rebuilt_rows=0, differing=0, problem=problem)


def _compare(
    connection: sqlite3.Connection,
    table: str,
    live: Mapping[str, str],
    rebuilt: Mapping[str, str],
    *,
    limit: int,
    in_order: bool,
) -> TableDifference:
    live_rows = _count_rows(connection, _LIVE, table, live)
    rebuilt_rows = _count_rows(connection, _REBUILT, table, rebuilt)
    problem, differing = "", 0
    found: tuple[RowDifference, ...] = ()
    if table not in live:
        problem = "is missing"
    elif table not in rebuilt:
        problem = "is no longer made"
    else:
        columns = _columns(connection, _REBUILT, table)
        module = module_of(rebuilt[table])
        if sorted(columns) != sorted(_columns(connection, _LIVE, table)):
            problem = "has other columns"
        elif _words(live[table]) != _words(rebuilt[table]):
            problem = "is declared otherwise than the migrations do"
        elif is_full_text(module):
            problem = find_index_problem(connection, table, module, one=_LIVE, other=_REBUILT)
        if not problem and _shows_rows(connection, table, module):
            comparison = _Comparison(connection, table, columns)
            if not comparison.is_same():
                differing, found = comparison.count(), comparison.examples(limit)
                if not differing and in_order:
                    problem = "has its rows under other rowids"
        if not problem and not differing and in_order:
            problem = _find_sequence_problem(connection, table)
    return TableDifference(
        table=table,
        live_rows=live_rows,
        rebuilt_rows=rebuilt_rows,
        differing=differing,
        examples=found,
        problem=problem,
    )


def _count_rows(
    connection: sqlite3.Connection, schema: str, table: str, declared: Mapping[str, str]
) -> int:
    if table not in declared:
        return 0
    module, counted = module_of(declared[table]), table
    if is_full_text(module):
        texts = texts_of(connection, table, module, schema=schema)
        if texts is None:
            return 0
        counted = texts
    return _count(connection, f"{schema}.{quoted(counted)}")


def _shows_rows(connection: sqlite3.Connection, table: str, module: str) -> bool:
    return not is_full_text(module) or keeps_texts(connection, table, module, schema=_REBUILT)


def _find_sequence_problem(connection: sqlite3.Connection, table: str) -> str:
    """Whether AUTOINCREMENT continues at another number."""
    live, rebuilt = (_sequence(connection, schema, table) for schema in (_LIVE, _REBUILT))
    return "" if live == rebuilt else f"counts on after {live or 0}, not after {rebuilt or 0}"


def _sequence(connection: sqlite3.Connection, schema: str, table: str) -> int | None:
    known = connection.execute(
        f"SELECT 1 FROM {schema}.sqlite_master WHERE name = 'sqlite_sequence'"
    ).fetchone()
    row = (
        known
        and connection.execute(
            f"SELECT seq FROM {schema}.sqlite_sequence WHERE name = ?", (table,)
        ).fetchone()
    )
    return row[0] if row else None


class _Comparison:
    """One table with the same columns on both sides.

    Rows are paired by primary key, without one each row stands for itself, so often as it is
    there. Texts are compared byte by byte, whatever the column's collation.
    """

    def __init__(self, connection: sqlite3.Connection, table: str, columns: Sequence[str]) -> None:
        self._connection = connection
        self._columns = list(columns)
        self._key = _primary_key(connection, table)
        self._rowid = _hidden_rowid(connection, table, columns)
        self._live = f"{_LIVE}.{quoted(table)}"
        self._rebuilt = f"{_REBUILT}.{quoted(table)}"

    def is_same(self) -> bool:
        """Whether each row is there as it should be, also its rowid where that has no name."""
        what = ", ".join((*self._rowid, *self._values(), *self._types()))
        select = f"SELECT {what} FROM {{}}"
        if not self._rowid and not self._key:
            return not self.count()
        mine, theirs = select.format(self._live), select.format(self._rebuilt)
        found = self._connection.execute(
            f"SELECT 1 FROM ({mine} EXCEPT {theirs}) "
            f"UNION ALL SELECT 1 FROM ({theirs} EXCEPT {mine}) LIMIT 1"
        ).fetchone()
        return found is None

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
        rows = ", ".join((*self._values(), *self._types()))
        select = f"SELECT {rows}, COUNT(*) FROM {{}} GROUP BY {rows}"
        return f"{select.format(one)} EXCEPT {select.format(other)}"

    def _values(self) -> list[str]:
        return [f"{quoted(name)} COLLATE BINARY" for name in self._columns]

    def _types(self) -> list[str]:
        """To SQLite 1 and 1.0 are equal, and a handler gets another value."""
        return [f"typeof({quoted(name)})" for name in self._columns]

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


def _hidden_rowid(
    connection: sqlite3.Connection, table: str, columns: Sequence[str]
) -> tuple[str, ...]:
    """The rowid of a table that has one and gives it no name."""
    info = connection.execute(f"PRAGMA {_REBUILT}.table_xinfo({quoted(table)})").fetchall()
    key = [row for row in info if row[5]]
    named = len(key) == 1 and key[0][2].upper() == "INTEGER"
    without = any(
        row[4]
        for row in connection.execute(f"PRAGMA {_REBUILT}.table_list({quoted(table)})")
        if row[0] == _REBUILT
    )
    taken = any(name.lower() == "rowid" for name in columns)
    return () if without or named or taken else ("rowid",)


def _primary_key(connection: sqlite3.Connection, table: str) -> list[str]:
    info = connection.execute(f"PRAGMA {_REBUILT}.table_xinfo({quoted(table)})")
    return [row[1] for row in info if row[5]]


def _count(connection: sqlite3.Connection, rows: str) -> int:
    (count,) = connection.execute(f"SELECT COUNT(*) FROM {rows}").fetchone()
    return int(count)
