"""Migrations of a read model: ordered ``.sql`` files, each applied once.

sqlite-utils has migrations too. They are Python functions in any order, without checksums, and
cost 80 ms of imports on every command; an edited or missing one goes unnoticed. Hence these.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from eskit.errors import MigrationInvalid, RebuildNeeded
from eskit.projections.projection import Projection
from eskit.projections.records import START, ProjectionState
from eskit.projections.sqlite.sql import query
from eskit.projections.sqlite.virtual import can_be_rebuilt, module_of

_NEEDS_HISTORY = re.compile(r"^--\s*eskit:\s*rebuild\s*$", re.MULTILINE)
_FILE = re.compile(r"(\d+)_(\w[\w-]*)\.sql\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file: ``0002_add_owner.sql`` has number 2.

    `needs_history`: a line ``-- eskit: rebuild`` says that rows made before it are not right.
    """

    number: int
    name: str
    sql: str
    checksum: str
    needs_history: bool


def load_migrations(projection: Projection) -> tuple[Migration, ...]:
    """The migrations of a projection in order; none if it declares no folder.

    Raises MigrationInvalid for a missing folder, a file name without a number, and numbers that
    repeat or leave a gap.
    """
    folder = projection.migrations
    if folder is None:
        return ()
    if not folder.is_dir():
        raise MigrationInvalid(
            f"Projection {projection.name!r} has no migrations folder {folder}",
            hint="The folder is relative to the module that makes the projection.",
        )
    migrations = sorted(
        (_load(file, projection) for file in folder.iterdir() if file.suffix == ".sql"),
        key=lambda migration: migration.number,
    )
    for expected, migration in enumerate(migrations, start=1):
        if migration.number != expected:
            raise MigrationInvalid(
                f"Migrations of projection {projection.name!r} in {folder} should go on with "
                f"number {expected}, but the next is {migration.name}",
                hint="Number migrations from 1, without gaps or duplicates.",
            )
    return tuple(migrations)


def migrations_checksum(migrations: Sequence[Migration]) -> str:
    """One checksum over all of them."""
    text = "\n".join(f"{migration.name} {migration.checksum}" for migration in migrations)
    return hashlib.sha256(text.encode()).hexdigest()


def find_pending(
    connection: sqlite3.Connection,
    projection: Projection,
    migrations: Sequence[Migration],
    state: ProjectionState | None,
) -> Sequence[Migration]:
    """What is still to be applied; MigrationInvalid if an applied one was edited or is gone.

    Raises RebuildNeeded if there are rows, and one of the pending migrations needs history.
    """
    applied = connection.execute(query("list_migrations"), (projection.name,)).fetchall()
    rebuild = f"or begin anew: eskit project rebuild {projection.name}"
    if len(applied) > len(migrations):
        raise MigrationInvalid(
            f"Migration {applied[len(migrations)][1]} of projection {projection.name!r} was "
            "applied, but its file is gone",
            hint=f"Put the file back, {rebuild}",
        )
    for (_, name, checksum), migration in zip(applied, migrations, strict=False):
        if checksum != migration.checksum or name != migration.name:
            raise MigrationInvalid(
                f"Migration {name} of projection {projection.name!r} was edited after it was "
                "applied",
                hint=f"Restore it and write migration {len(migrations) + 1} instead, {rebuild}",
            )
    pending = migrations[len(applied) :]
    for migration in pending:
        if migration.needs_history and state is not None and state.checkpoint != START:
            raise RebuildNeeded(
                f"Migration {migration.name} of projection {projection.name!r} needs the events "
                "that its rows were made from",
                hint=f"Make them anew beside the old ones: eskit project rebuild {projection.name}",
            )
    return pending


def apply_migrations(
    connection: sqlite3.Connection,
    projection: Projection,
    pending: Sequence[Migration],
    *,
    now: int,
) -> None:
    """Run migrations and record them with the objects they make; the caller's transaction.

    Raises MigrationInvalid for one that does not run, for a name of eskit's, and for a virtual
    table that no rebuild can make again.
    """
    before, own = set(list_objects(connection)), _own_objects(connection)
    for migration in pending:
        for statement in _statements(migration.sql):
            try:
                connection.execute(statement)
            except sqlite3.Error as error:
                owners = _owners_of_names_in(connection, migration, projection)
                raise _not_applied(projection, migration, error, owners) from error
        connection.execute(
            query("save_migration"),
            (
                projection.name,
                migration.number,
                migration.name,
                migration.checksum,
                now,
            ),
        )
    made = set(list_objects(connection)) - before
    _refuse_own_names(projection, own ^ _own_objects(connection))
    _refuse_unknown_modules(connection, projection, made)
    connection.executemany(
        "INSERT OR REPLACE INTO eskit_objects (name, projection) VALUES (?, ?)",
        [(name, projection.name) for name in made],
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


def _refuse_own_names(projection: Projection, changed: set[str]) -> None:
    for name in sorted(changed):
        raise MigrationInvalid(
            f"The migrations of projection {projection.name!r} make or drop {name!r}: names that "
            "begin with eskit_ belong to eskit",
            hint="Choose another name. If a migration that was applied has it, add one that "
            "renames it: ALTER TABLE … RENAME TO …",
        )


def _refuse_unknown_modules(
    connection: sqlite3.Connection, projection: Projection, made: set[str]
) -> None:
    declared = connection.execute("SELECT name, sql FROM main.sqlite_master WHERE type = 'table'")
    for name, sql in declared:
        module = module_of(sql)
        if name in made and module and not can_be_rebuilt(module):
            raise MigrationInvalid(
                f"{name!r} of projection {projection.name!r} is a virtual table of module "
                f"{module!r}, which a rebuild cannot be trusted to make again",
                hint="Use an ordinary table, full-text search (fts5) or rtree.",
            )


def _load(file: Path, projection: Projection) -> Migration:
    match = _FILE.match(file.name)
    if not match:
        raise MigrationInvalid(
            f"Projection {projection.name!r} has {file}, which is not named like a migration",
            hint="Name it <number>_<what it does>.sql, such as 0002_add_owner_name.sql.",
        )
    # A checkout may have changed the line ends; the statements are the same.
    sql = file.read_text(encoding="utf-8").replace("\r\n", "\n")
    return Migration(
        number=int(match[1]),
        name=file.stem,
        sql=sql,
        checksum=hashlib.sha256(sql.encode()).hexdigest(),
        needs_history=_NEEDS_HISTORY.search(sql) is not None,
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
    connection: sqlite3.Connection, migration: Migration, projection: Projection
) -> list[str]:
    """Other projections to which a table or the like belongs that a migration speaks of."""
    words = set(re.findall(r"\w+", migration.sql))
    found = connection.execute("SELECT name, projection FROM eskit_objects")
    return sorted({owner for name, owner in found if name in words and owner != projection.name})


def _not_applied(
    projection: Projection, migration: Migration, error: sqlite3.Error, owners: Sequence[str]
) -> MigrationInvalid:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_AUTH:
        return MigrationInvalid(
            f"Migration {migration.name} of projection {projection.name!r} begins or ends a "
            "transaction, or attaches a database",
            hint="Leave BEGIN, COMMIT and ROLLBACK out: each migration runs in a transaction.",
        )
    if owners:
        return MigrationInvalid(
            f"Migration {migration.name} of projection {projection.name!r} does not run, because "
            f"of what belongs to {owners[0]!r}: {error}",
            hint=f"If {owners[0]!r} was renamed: eskit project rename {owners[0]} "
            f"{projection.name}. If not, give every projection tables of its own.",
        )
    return MigrationInvalid(
        f"Migration {migration.name} of projection {projection.name!r} does not run: {error}",
        hint="Fix the migration, or the table named in the error: nothing of it was applied.",
    )
