"""Running the statements of migrations in SQLite, and whose tables they make."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence

from eskit.errors import MigrationInvalid
from eskit.projections.migrations import Migration
from eskit.projections.sqlite.sql import query
from eskit.projections.sqlite.virtual import can_be_rebuilt, module_of


def apply_migrations(
    connection: sqlite3.Connection,
    projection: str,
    migrations: Sequence[Migration],
) -> None:
    """Run migrations and record the objects they make; part of the caller's transaction.

    Raises MigrationInvalid for one that does not run, for a name of eskit's, and for a virtual
    table that no rebuild can make again.
    """
    before, own = set(list_objects(connection)), _own_objects(connection)
    for migration in migrations:
        for statement in _statements(migration.sql):
            try:
                connection.execute(statement)
            except sqlite3.Error as error:
                owners = _owners_of_names_in(connection, migration, projection)
                raise _not_applied(projection, migration, error, owners) from error
    made = set(list_objects(connection)) - before
    _refuse_own_names(projection, own ^ _own_objects(connection))
    _refuse_unknown_modules(connection, projection, made)
    connection.executemany(
        "INSERT OR REPLACE INTO eskit_objects (name, projection) VALUES (?, ?)",
        [(name, projection) for name in made],
    )


def list_objects(connection: sqlite3.Connection) -> list[str]:
    """The names of all tables, indexes, triggers and views that are not eskit's or SQLite's."""
    return [name for (name,) in connection.execute(query("list_objects"))]


def _own_objects(connection: sqlite3.Connection) -> set[str]:
    return {
        name
        for (name,) in connection.execute(
            r"SELECT name FROM main.sqlite_master WHERE name LIKE 'eskit\_%' ESCAPE '\'"
        )
    }


def _refuse_own_names(projection: str, changed: set[str]) -> None:
    for name in sorted(changed):
        raise MigrationInvalid(
            f"The migrations of projection {projection!r} make or drop {name!r}: names that "
            "begin with eskit_ belong to eskit",
            hint="Choose another name. If a migration that was applied has it, add one that "
            "renames it: ALTER TABLE … RENAME TO …",
        )


def _refuse_unknown_modules(
    connection: sqlite3.Connection, projection: str, made: set[str]
) -> None:
    declared = connection.execute("SELECT name, sql FROM main.sqlite_master WHERE type = 'table'")
    for name, sql in declared:
        module = module_of(sql)
        if name in made and module and not can_be_rebuilt(module):
            raise MigrationInvalid(
                f"{name!r} of projection {projection!r} is a virtual table of module "
                f"{module!r}, which a rebuild cannot be trusted to make again",
                hint="Use an ordinary table, full-text search (fts5) or rtree.",
            )


def _statements(sql: str) -> Iterator[str]:
    """Statement by statement: `executescript` would commit the transaction around it."""
    statement = ""
    for part in re.split(r"(?<=;)", sql):
        statement += part
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


def _owners_of_names_in(
    connection: sqlite3.Connection, migration: Migration, projection: str
) -> list[str]:
    """Other projections to which a table or the like belongs that a migration speaks of."""
    words = set(re.findall(r"\w+", migration.sql))
    found = connection.execute("SELECT name, projection FROM eskit_objects")
    return sorted({owner for name, owner in found if name in words and owner != projection})


def _not_applied(
    projection: str, migration: Migration, error: sqlite3.Error, owners: Sequence[str]
) -> MigrationInvalid:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_AUTH:
        return MigrationInvalid(
            f"Migration {migration.name} of projection {projection!r} begins or ends a "
            "transaction, or attaches a database",
            hint="Leave BEGIN, COMMIT and ROLLBACK out: each migration runs in a transaction.",
        )
    if owners:
        return MigrationInvalid(
            f"Migration {migration.name} of projection {projection!r} does not run, because "
            f"of what belongs to {owners[0]!r}: {error}",
            hint=f"If {owners[0]!r} was renamed: eskit project rename {owners[0]} "
            f"{projection}. If not, give every projection tables of its own.",
        )
    return MigrationInvalid(
        f"Migration {migration.name} of projection {projection!r} does not run: {error}",
        hint="Fix the migration, or the table named in the error: nothing of it was applied.",
    )
