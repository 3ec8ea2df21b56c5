"""Exchanging rows where tables have to stay, because something of others needs them.

Only rows that differ are written. All tables are emptied of the old rows and filled with the new
ones by one statement: PostgreSQL checks foreign keys at its end, so their order does not matter.
"""

# ruff: noqa: S608 - statements are made of quoted names only

from __future__ import annotations

from collections.abc import Sequence

from eskit.postgres.connection import Connection
from eskit.projections.postgres.tables import Table, list_sequences, quoted, same_row, searching


def refill(connection: Connection, tables: Sequence[Table], *, live: str, shadow: str) -> None:
    """Give live tables the rows of their shadows, which are declared alike."""
    connection.execute("SET LOCAL row_security = off")  # rows that a policy hides stay otherwise
    triggers = [(table, name) for table in tables for name in _triggers(table)]
    for table, name in triggers:  # what they do to rows is done in the shadow already
        _alter(connection, live, table, f"DISABLE TRIGGER {quoted(name)}")
    if tables:
        with searching(connection, live):
            connection.execute(_exchange_rows(tables, live, shadow).encode())
    connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for table, name in triggers:
        _alter(connection, live, table, f"{_state(table, name)} TRIGGER {quoted(name)}")
    for name in list_sequences(connection, shadow):
        connection.execute(
            f"SELECT setval('{_literal(f'{quoted(live)}.{quoted(name)}')}', last_value, is_called) "
            f"FROM {quoted(shadow)}.{quoted(name)}".encode()
        )


def _exchange_rows(tables: Sequence[Table], live: str, shadow: str) -> str:
    """One statement. That each INSERT asks for what was deleted makes it wait for all of that."""
    deletes, inserts = [], []
    for number, table in enumerate(tables):
        mine, theirs = (f"{quoted(schema)}.{quoted(table.name)}" for schema in (live, shadow))
        columns = ", ".join(quoted(name) for name in table.columns if name not in table.generated)
        same = same_row(table, "l", "s", table.key)
        kept = f"WHERE {same} AND {same_row(table, 'l', 's')}" if table.key else "WHERE false"
        deletes.append(
            f"gone_{number} AS (DELETE FROM {mine} AS l "
            f"WHERE NOT EXISTS (SELECT FROM {theirs} AS s {kept}) RETURNING 1)"
        )
        values = ", ".join(
            f"s.{quoted(name)}{_cast(table, name)}"
            for name in table.columns
            if name not in table.generated
        )
        inserts.append(
            f"new_{number} AS (INSERT INTO {mine} ({columns}) OVERRIDING SYSTEM VALUE "
            f"SELECT {values} FROM {theirs} AS s WHERE (SELECT rows FROM gone) >= 0 "
            f"AND NOT EXISTS (SELECT FROM {mine} AS l {kept}))"
        )
    rows = " + ".join(f"(SELECT count(*) FROM gone_{number})" for number in range(len(tables)))
    gone = f"gone AS MATERIALIZED (SELECT {rows} AS rows)"
    return f"WITH {', '.join([*deletes, gone, *inserts])} SELECT"


def _cast(table: Table, column: str) -> str:
    return f"::text::{table.own_types[column]}" if column in table.own_types else ""


def _triggers(table: Table) -> list[str]:
    return [name for (kind, name), _ in table.parts.items() if kind == "trigger"]


def _state(table: Table, trigger: str) -> str:
    """How a trigger is enabled, by the letter that ends its declaration."""
    letter = table.parts["trigger", trigger][-1]
    return {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}.get(letter, "DISABLE")


def _alter(connection: Connection, live: str, table: Table, how: str) -> None:
    connection.execute(f"ALTER TABLE {quoted(live)}.{quoted(table.name)} {how}".encode())


def _literal(text: str) -> str:
    return text.replace("'", "''")
