"""Comparing the tables of two schemas inside PostgreSQL, and what is made of them.

Values are compared as they are stored: 1.0 and 1.00 are equal to PostgreSQL, and two texts.
"""

# ruff: noqa: S608 - statements are made of quoted names only

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eskit.postgres.connection import Connection
from eskit.projections.differences import Row, RowDifference, TableDifference
from eskit.projections.postgres.tables import (
    SchemaObject,
    Table,
    declare_other,
    declare_table,
    list_objects,
    list_owners,
    list_sequences,
    quoted,
    same_row,
    searching,
)

_VOWELS = tuple("aeiou")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """What one of the two schemas has of the projection."""

    schema: str
    tables: Mapping[str, Table]
    others: Mapping[tuple[str, str], str]
    sequences: Mapping[str, tuple[str, int | None]]


def compare_tables(
    connection: Connection,
    projection: str,
    *,
    live: str,
    shadow: str,
    examples: int,
    in_order: bool,
) -> list[TableDifference]:
    """Compare what was built in schema `shadow` with `live`; up to so many example rows a table.

    Of views, functions, indexes and the like only those that differ are told of. `in_order`: both
    were made of the events in the same order, so that sequences have to be at the same number.
    """
    connection.execute("SET LOCAL row_security = off")
    owners = list_owners(connection, live)
    made = list_objects(connection, shadow)
    names = {key for key, owner in owners.items() if owner == projection}
    names |= {(found.kind, found.name) for found in made}
    kept = [found for found in list_objects(connection, live) if (found.kind, found.name) in names]
    with searching(connection, live):
        is_ = _look(connection, live, kept)
    with searching(connection, shadow, live):
        should_be = _look(connection, shadow, made)
    tables = [
        _compare(connection, name, is_, should_be, limit=examples, in_order=in_order)
        for name in sorted(is_.tables.keys() | should_be.tables.keys())
    ]
    return [
        *tables,
        *_compare_parts(is_, should_be),
        *(_compare_lone(is_, should_be) if in_order else ()),
    ]


def _look(connection: Connection, schema: str, objects: Sequence[SchemaObject]) -> _Side:
    tables = [declare_table(connection, found) for found in objects if found.is_table]
    return _Side(
        schema=schema,
        tables={table.name: table for table in tables},
        others={
            (found.kind, found.name): declare_other(connection, schema, found)
            for found in objects
            if not found.is_table
        },
        sequences=list_sequences(connection, schema),
    )


def _compare_parts(is_: _Side, should_be: _Side) -> list[TableDifference]:
    """Views, functions, triggers, indexes: missing, declared otherwise, or not from migrations."""
    live, made = _parts(is_, should_be), _parts(should_be, is_)
    found = {}
    for (kind, name), declared in made.items():
        if (kind, name) not in live:
            found[name] = f"is missing: {_a(kind)} that the migrations make"
        elif live[kind, name] != declared:
            found[name] = f"is another {kind} than the migrations make"
    for kind, name in live.keys() - made.keys():
        if kind != "index":
            found[name] = f"is {_a(kind)} that no migration makes"
    return [_problem(name, problem) for name, problem in sorted(found.items())]


def _parts(side: _Side, other: _Side) -> dict[tuple[str, str], str]:
    """Those of tables that both sides have: a table that is missing lacks its indexes as well."""
    parts = dict(side.others)
    for name, table in side.tables.items():
        if name in other.tables:
            parts.update(table.parts)
    return parts


def _compare_lone(is_: _Side, should_be: _Side) -> list[TableDifference]:
    """Sequences that count for no table."""
    lone = {name: last for name, (table, last) in should_be.sequences.items() if not table}
    return [
        _problem(name, _counts(is_.sequences[name][1], last))
        for name, last in lone.items()
        if name in is_.sequences and is_.sequences[name][1] != last
    ]


def _compare(
    connection: Connection,
    name: str,
    is_: _Side,
    should_be: _Side,
    *,
    limit: int,
    in_order: bool,
) -> TableDifference:
    live, rebuilt = is_.tables.get(name), should_be.tables.get(name)
    problem, differing = "", 0
    examples: tuple[RowDifference, ...] = ()
    if live is None:
        problem = "is missing"
    elif rebuilt is None:
        problem = "is no longer made"
    elif sorted(live.columns) != sorted(rebuilt.columns):
        problem = "has other columns"
    elif live.declared != rebuilt.declared:
        problem = "is declared otherwise than the migrations do"
    else:
        comparison = _Comparison(connection, rebuilt, is_.schema, should_be.schema)
        differing = comparison.count()
        if differing:
            examples = comparison.examples(limit)
        elif in_order:
            problem = _find_sequence_problem(name, is_, should_be)
    return TableDifference(
        table=name,
        live_rows=_count_rows(connection, is_, name),
        rebuilt_rows=_count_rows(connection, should_be, name),
        differing=differing,
        examples=examples,
        problem=problem,
    )


def _find_sequence_problem(table: str, is_: _Side, should_be: _Side) -> str:
    """Whether an identity column counts on from another number."""
    for name, (owner, last) in should_be.sequences.items():
        if owner == table and name in is_.sequences and is_.sequences[name][1] != last:
            return _counts(is_.sequences[name][1], last)
    return ""


def _counts(live: int | None, rebuilt: int | None) -> str:
    return f"counts on after {live or 0}, not after {rebuilt or 0}"


class _Comparison:
    """One table that is declared alike in both schemas.

    Rows are paired by primary key. Without one each row stands for itself, as often as it is there.
    """

    def __init__(self, connection: Connection, table: Table, live: str, rebuilt: str) -> None:
        self._connection = connection
        self._table = table
        self._columns = table.columns
        self._key = table.key
        self._live = f"{quoted(live)}.{quoted(table.name)}"
        self._rebuilt = f"{quoted(rebuilt)}.{quoted(table.name)}"

    def count(self) -> int:
        """How many rows are wrong, missing or too many."""
        if self._key:
            return self._number(f"SELECT count(*) {self._paired()}")
        return self._number(f"SELECT coalesce(sum(abs(surplus)), 0) FROM ({self._counted()}) AS c")

    def examples(self, limit: int) -> tuple[RowDifference, ...]:
        """Some of them, wrong and missing ones first."""
        return self._keyed(limit) if self._key else self._keyless(limit)

    def _paired(self) -> str:
        same = same_row(self._table, "l", "r", self._key)
        return (
            f"FROM {self._live} AS l FULL JOIN {self._rebuilt} AS r ON {same} "
            f"WHERE ({same_row(self._table, 'l', 'r')}) IS NOT TRUE"
        )

    def _keyed(self, limit: int) -> tuple[RowDifference, ...]:
        first = quoted(self._key[0])
        sides = [f"{side}.{quoted(name)}" for side in "lr" for name in self._columns]
        order = ", ".join(f"coalesce({', '.join(self._texts(name))})" for name in self._key)
        rows = self._connection.execute(
            f"SELECT l.{first} IS NOT NULL, r.{first} IS NOT NULL, {', '.join(sides)} "
            f"{self._paired()} ORDER BY r.{first} IS NULL, {order} LIMIT {limit}".encode()
        ).fetchall()
        middle = len(self._columns)
        return tuple(
            RowDifference(
                live=self._row(values[:middle]) if is_live else None,
                rebuilt=self._row(values[middle:]) if is_rebuilt else None,
            )
            for is_live, is_rebuilt, *values in rows
        )

    def _counted(self) -> str:
        """How many more there are of a row in the live table than in the other."""
        each = 'SELECT t::text COLLATE "C" AS shown, {} AS number FROM {} AS t'
        return (
            "SELECT shown, sum(number) AS surplus FROM ("
            f"{each.format(1, self._live)} UNION ALL {each.format(-1, self._rebuilt)}"
            ") AS n GROUP BY shown HAVING sum(number) <> 0"
        )

    def _keyless(self, limit: int) -> tuple[RowDifference, ...]:
        found = self._connection.execute(
            f"{self._counted()} ORDER BY sum(number) > 0, shown LIMIT {limit}".encode()
        ).fetchall()
        names = ", ".join(map(quoted, self._columns))
        differences = []
        for shown, surplus in found:
            table = self._live if surplus > 0 else self._rebuilt
            row = self._connection.execute(
                f"SELECT {names} FROM {table} AS t".replace("%", "%%").encode()
                + b" WHERE t::text = %s LIMIT 1",
                (shown,),
            ).fetchone()
            known = self._row(row or ())
            differences.append(
                RowDifference(live=known, rebuilt=None)
                if surplus > 0
                else RowDifference(live=None, rebuilt=known)
            )
        return tuple(differences)

    def _texts(self, name: str) -> list[str]:
        """A column of both sides, in types that can be put in one order."""
        text = "::text" if name in self._table.own_types else ""
        return [f"{side}.{quoted(name)}{text}" for side in "rl"]

    def _row(self, values: Sequence[Any]) -> Row:
        return dict(zip(self._columns, values, strict=True))

    def _number(self, statement: str) -> int:
        ((number,),) = self._connection.execute(statement.encode()).fetchall()
        return int(number)


def _count_rows(connection: Connection, side: _Side, table: str) -> int:
    if table not in side.tables:
        return 0
    statement = f"SELECT count(*) FROM {quoted(side.schema)}.{quoted(table)}"
    ((number,),) = connection.execute(statement.encode()).fetchall()
    return int(number)


def _problem(name: str, problem: str) -> TableDifference:
    return TableDifference(table=name, live_rows=0, rebuilt_rows=0, differing=0, problem=problem)


def _a(kind: str) -> str:
    return f"an {kind}" if kind.startswith(_VOWELS) else f"a {kind}"
