"""Virtual tables: what a rebuild copies of them, and how two of them are compared.

A full-text index answers from tables of its own, ``notes_data`` and so on. It shows neither what is
in them, where it keeps no texts, nor the settings that were made by inserting into it.
"""

# ruff: noqa: S608 - statements are made of quoted names only

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

_DECLARATION = re.compile(
    r"\s*CREATE\s+VIRTUAL\s+TABLE\b.*?\bUSING\s+(\w+)", re.IGNORECASE | re.DOTALL
)
_OWN_TABLES = {
    "fts3": ("content", "segments", "segdir", "docsize", "stat"),
    "fts4": ("content", "segments", "segdir", "docsize", "stat"),
    "fts5": ("data", "idx", "content", "docsize", "config"),
}
_VIEWS_OF_OTHERS = {"fts5vocab", "fts4aux", "fts3tokenize", "dbstat"}
_KNOWN = {*_OWN_TABLES, *_VIEWS_OF_OTHERS, "rtree", "rtree_i32", "geopoly"}


def module_of(sql: str | None) -> str:
    """The module of a virtual table by its declaration; empty for anything else."""
    match = _DECLARATION.match(sql or "")
    return match[1].lower() if match else ""


def can_be_rebuilt(module: str) -> bool:
    """Whether a rebuild is known to give the same answers from such a table."""
    return module in _KNOWN


def has_no_rows(module: str) -> bool:
    """Whether such a table only shows what others hold."""
    return module in _VIEWS_OF_OTHERS


def is_full_text(module: str) -> bool:
    """Whether such a table answers from tables of its own, which are copied as they are."""
    return module in _OWN_TABLES


def copy_own_tables(
    connection: sqlite3.Connection, table: str, module: str, *, source: str, target: str
) -> None:
    """Give a full-text index that was just made all that another one holds.

    A new one has read nothing yet that could be out of date.
    """
    for own in _own_tables(connection, table, module, schema=source):
        connection.execute(f"DELETE FROM {target}.{quoted(own)}")
        connection.execute(
            f"INSERT INTO {target}.{quoted(own)} SELECT * FROM {source}.{quoted(own)}"
        )


def texts_of(connection: sqlite3.Connection, table: str, module: str, *, schema: str) -> str | None:
    """What to count to know how many texts an index has; None where it does not say.

    The index itself shows its rows only where it keeps the texts, see `keeps_texts`.
    """
    own = _own_tables(connection, table, module, schema=schema)
    for name in (f"{table}_content", f"{table}_docsize"):
        if name in own:
            return name
    return None


def keeps_texts(connection: sqlite3.Connection, table: str, module: str, *, schema: str) -> bool:
    """Whether the index keeps its texts itself: another one may not be readable row by row."""
    return f"{table}_content" in _own_tables(connection, table, module, schema=schema)


def find_index_problem(
    connection: sqlite3.Connection, table: str, module: str, *, one: str, other: str
) -> str:
    """In what two full-text indexes answer differently; empty if in nothing.

    Their words are compared, and where they are, not how the index keeps them.
    """
    if module == "fts5":
        settings = f"SELECT k, v FROM {{}}.{quoted(table + '_config')} WHERE k <> 'version'"
        if _differ(connection, settings, one, other):
            return "has other settings"
    with (
        _words(connection, table, module, one) as mine,
        _words(connection, table, module, other) as theirs,
    ):
        if _differ(connection, "SELECT * FROM temp.{}", mine, theirs):
            return "has other words in its index"
    if f"{table}_docsize" in _own_tables(connection, table, module, schema=one):
        sizes = f"SELECT * FROM {{}}.{quoted(table + '_docsize')}"
        if _differ(connection, sizes, one, other):
            return "has other lengths of texts in its index"
    return ""


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _words(connection: sqlite3.Connection, table: str, module: str, schema: str) -> Iterator[str]:
    """The name of a temporary table with the words of an index."""
    name = f"eskit_words_{schema}"
    shown = f"{schema}, {quoted(table)}"
    using = f"fts5vocab({shown}, instance)" if module == "fts5" else f"fts4aux({shown})"
    connection.execute(f"CREATE VIRTUAL TABLE temp.{name} USING {using}")
    try:
        yield name
    finally:
        connection.execute(f"DROP TABLE temp.{name}")


def _differ(connection: sqlite3.Connection, rows: str, one: str, other: str) -> bool:
    mine, theirs = rows.format(one), rows.format(other)
    found = connection.execute(
        f"SELECT 1 FROM ({mine} EXCEPT {theirs}) UNION ALL SELECT 1 FROM ({theirs} EXCEPT {mine})"
    ).fetchone()
    return found is not None


def _own_tables(
    connection: sqlite3.Connection, table: str, module: str, *, schema: str
) -> list[str]:
    names = {
        name.lower(): name
        for (name,) in connection.execute(
            f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table'"
        )
    }
    wanted = [f"{table}_{suffix}".lower() for suffix in _OWN_TABLES[module]]
    return [names[name] for name in wanted if name in names]
