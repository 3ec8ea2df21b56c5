"""Swapping the tables of a projection for those of another file, inside one transaction.

Readers in any process see the old rows or the new ones. Replacing the file instead would leave
open readers on the old one, and take the tables of other projections with it.
"""

# ruff: noqa: S608 - statements are made of quoted names only

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from eskit.errors import MigrationInvalid, ReadModelUnavailable
from eskit.projections.sqlite.virtual import (
    copy_own_tables,
    has_no_rows,
    is_full_text,
    module_of,
    quoted,
)

SHADOW = "shadow"
_DROP_ORDER = ("trigger", "view", "index", "table")
_LAST = ("index", "trigger", "view")


@dataclass(frozen=True, slots=True, order=True)
class _Object:
    """A table, index, trigger or view with the statement that makes it."""

    kind: str
    name: str
    sql: str

    @property
    def module(self) -> str:
        """The module of a virtual table; empty for any other object."""
        return module_of(self.sql) if self.kind == "table" else ""

    @property
    def is_virtual(self) -> bool:
        return bool(self.module)


def swap_tables(connection: sqlite3.Connection, projection: str) -> None:
    """Make the projection's tables in ``main`` equal to those attached as ``shadow``.

    MigrationInvalid if one of their names belongs to another projection.
    """
    fresh = _objects(connection, SHADOW)
    _refuse_foreign(connection, projection, {found.name for found in fresh})
    names = {found.name for found in fresh} | _owned(connection, projection)
    live = [found for found in _objects(connection, "main") if found.name in names]

    if sorted(live) == sorted(fresh) and not any(found.is_virtual for found in fresh):
        _refill(connection, fresh)
    else:
        _replace(connection, live, fresh)
    _copy_autoincrement(connection, fresh)
    _forget_objects(connection, projection)
    connection.executemany(
        "INSERT OR REPLACE INTO main.eskit_objects (name, projection) VALUES (?, ?)",
        [(found.name, projection) for found in fresh],
    )


def drop_tables(connection: sqlite3.Connection, projection: str) -> None:
    """Drop everything that the projection's migrations made."""
    names = _owned(connection, projection)
    live = [found for found in _objects(connection, "main") if found.name in names]
    for kind in _DROP_ORDER:
        for found in live:
            if found.kind == kind:
                connection.execute(f"DROP {kind} IF EXISTS main.{quoted(found.name)}")
    _forget_objects(connection, projection)


def _forget_objects(connection: sqlite3.Connection, projection: str) -> None:
    connection.execute("DELETE FROM main.eskit_objects WHERE projection = ?", (projection,))


def _objects(connection: sqlite3.Connection, schema: str) -> list[_Object]:
    """The objects of a database, without SQLite's, eskit's and the inner ones of virtual tables."""
    inner = {
        row[1]
        for row in connection.execute(f"PRAGMA {schema}.table_list").fetchall()
        if row[2] == "shadow"
    }
    rows = connection.execute(
        f"SELECT type, name, sql FROM {schema}.sqlite_master "
        r"WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE 'eskit\_%' ESCAPE '\'"
    ).fetchall()
    return [_Object(kind, name, sql) for kind, name, sql in rows if name not in inner]


def _owned(connection: sqlite3.Connection, projection: str) -> set[str]:
    rows = connection.execute(
        "SELECT name FROM main.eskit_objects WHERE projection = ?", (projection,)
    )
    return {name for (name,) in rows}


def _refuse_foreign(connection: sqlite3.Connection, projection: str, names: set[str]) -> None:
    for name, owner in connection.execute("SELECT name, projection FROM main.eskit_objects"):
        if name in names and owner != projection:
            raise MigrationInvalid(
                f"{name!r} of projection {projection!r} already belongs to {owner!r}",
                hint=f"If {owner!r} was renamed: eskit project rename {owner} {projection}. "
                "If not, give every projection tables of its own.",
            )


def _refill(connection: sqlite3.Connection, fresh: list[_Object]) -> None:
    """The schema is the same: exchange the rows, with triggers out of the way."""
    triggers = [found for found in fresh if found.kind == "trigger"]
    for trigger in triggers:
        connection.execute(f"DROP TRIGGER main.{quoted(trigger.name)}")
    for table in _tables(fresh):
        connection.execute(f"DELETE FROM main.{quoted(table.name)}")
        _copy_rows(connection, table)
    for trigger in triggers:
        connection.execute(trigger.sql)


def _replace(connection: sqlite3.Connection, live: list[_Object], fresh: list[_Object]) -> None:
    """The schema differs: drop the old tables and create everything again."""
    for kind in _DROP_ORDER:
        for found in live:
            if found.kind == kind:
                connection.execute(f"DROP {kind} IF EXISTS main.{quoted(found.name)}")
    # Virtual tables last: one may index the rows of an ordinary one, or show the words of another.
    for table in sorted(_tables(fresh), key=_copied_after):
        connection.execute(table.sql)
        _fill(connection, table)
    for kind in _LAST:
        for found in fresh:
            if found.kind == kind:
                connection.execute(found.sql)


def _copied_after(table: _Object) -> int:
    return table.is_virtual + has_no_rows(table.module)


def _fill(connection: sqlite3.Connection, table: _Object) -> None:
    if is_full_text(table.module):
        copy_own_tables(connection, table.name, table.module, source=SHADOW, target="main")
    elif not has_no_rows(table.module):
        _copy_rows(connection, table)


def _tables(objects: list[_Object]) -> list[_Object]:
    return [found for found in objects if found.kind == "table"]


def _copy_rows(connection: sqlite3.Connection, table: _Object) -> None:
    """Copy all rows with their rowids; generated columns make themselves."""
    target, source = f"main.{quoted(table.name)}", f"{SHADOW}.{quoted(table.name)}"
    shape = _shape(connection, table)
    if shape.copied_whole:
        connection.execute(f"INSERT INTO {target} SELECT * FROM {source}")
    else:
        columns = ", ".join((*shape.rowid, *map(quoted, shape.columns)))
        connection.execute(f"INSERT INTO {target} ({columns}) SELECT {columns} FROM {source}")
    extent = ["COUNT(*)", *(f"{end}({name})" for name in shape.rowid for end in ("MIN", "MAX"))]
    look = ", ".join(f"(SELECT {what} FROM {{0}})" for what in extent)
    copied, built = (
        connection.execute(f"SELECT {look.format(rows)}").fetchone() for rows in (target, source)
    )
    if copied != built:
        raise ReadModelUnavailable(
            f"Table {table.name} has not got all the rows that were built aside",
            hint="Nothing was exchanged. Is a table of another projection in the way?",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What of a table is copied: columns that are not generated, the rowid where it has no name.

    `copied_whole`: SQLite copies the records of table and indexes as they lie, which takes half
    the time. It does so between equal tables, and keeps rowids without a name only where there
    is an index.
    """

    columns: tuple[str, ...]
    rowid: tuple[str, ...]
    copied_whole: bool


def _shape(connection: sqlite3.Connection, table: _Object) -> _Shape:
    info = connection.execute(f"PRAGMA {SHADOW}.table_xinfo({quoted(table.name)})").fetchall()
    columns = tuple(row[1] for row in info if row[6] == 0)
    (without_rowid,) = (
        row[4]
        for row in connection.execute(f"PRAGMA {SHADOW}.table_list({quoted(table.name)})")
        if row[0] == SHADOW
    )
    key = [row for row in info if row[5]]
    named = len(key) == 1 and key[0][2].upper() == "INTEGER"
    hidden = any(name.lower() == "rowid" for name in columns)
    rowid = () if without_rowid or named or hidden else ("rowid",)
    indexed = connection.execute(f"PRAGMA main.index_list({quoted(table.name)})").fetchone()
    return _Shape(
        columns=columns,
        rowid=rowid,
        copied_whole=not table.is_virtual
        and len(columns) == len(info)
        and (without_rowid or named or indexed is not None),
    )


def _copy_autoincrement(connection: sqlite3.Connection, fresh: list[_Object]) -> None:
    """Let AUTOINCREMENT continue after the rebuilt rows."""
    if not any("AUTOINCREMENT" in found.sql.upper() for found in _tables(fresh) if found.sql):
        return
    for table in _tables(fresh):
        connection.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (table.name,))
        connection.execute(
            "INSERT INTO main.sqlite_sequence (name, seq) "
            "SELECT name, seq FROM shadow.sqlite_sequence WHERE name = ?",
            (table.name,),
        )
