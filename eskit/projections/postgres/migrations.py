"""Running migrations in PostgreSQL, and whose tables they make."""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg

from eskit.errors import MigrationInvalid, ProjectionFailed
from eskit.postgres.connection import Connection
from eskit.projections.migrations import Migration
from eskit.projections.postgres.session import is_transient
from eskit.projections.postgres.shadow import Fence
from eskit.projections.postgres.sql import query
from eskit.projections.postgres.tables import SchemaObject, list_objects, refuse_immovable

_WITHOUT_STATEMENTS = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(\w*)\$.*?\$\1\$"
    r"|\bBEGIN\s+ATOMIC\b.*?\bEND\b",
    re.DOTALL | re.IGNORECASE,
)
_ENDS_A_TRANSACTION = re.compile(
    r"(?:\A|;)\s*(?:begin|start|commit|end|abort|rollback|prepare\s+transaction)\b", re.IGNORECASE
)


def apply_migrations(
    connection: Connection, schema: str, projection: str, migrations: Sequence[Migration]
) -> None:
    """Run migrations and record in `schema` what they make; part of the caller's transaction.

    They make it in the schema that is searched first. Raises MigrationInvalid for one that does
    not run, for a name of eskit's, and for what no rebuild can make again.
    """
    if not migrations:
        return
    ((target,),) = connection.execute("SELECT current_schema()").fetchall()
    before, own = set(list_objects(connection, target)), _own_objects(connection, target)
    fence = Fence(connection, live=schema, own=target, records=True)
    fence.begin()
    for migration in migrations:
        _run(connection, schema, projection, migration)
    made = set(list_objects(connection, target))
    for name in sorted(own ^ _own_objects(connection, target)):
        raise MigrationInvalid(
            f"The migrations of projection {projection!r} make or drop {name!r}: names that "
            "begin with eskit_ belong to eskit",
            hint="Choose another name. If a migration that was applied has it, add one that "
            "renames it: ALTER TABLE … RENAME TO …",
        )
    try:
        fence.check(projection)
    except ProjectionFailed as error:
        raise MigrationInvalid(
            f"The migrations of projection {projection!r} reach outside: {error.message}",
            hint=error.hint,
        ) from error
    refuse_immovable(projection, made - before)
    if target == schema:
        _record(connection, schema, projection, before, made)


def _run(connection: Connection, schema: str, projection: str, migration: Migration) -> None:
    if _ENDS_A_TRANSACTION.search(_WITHOUT_STATEMENTS.sub(" ", migration.sql)):
        raise MigrationInvalid(
            f"Migration {migration.name} of projection {projection!r} begins or ends a transaction",
            hint="Leave BEGIN, COMMIT and ROLLBACK out: each migration runs in a transaction.",
        )
    try:
        with connection.transaction():
            connection.execute(migration.sql.encode())
    except psycopg.Error as error:
        if is_transient(error):
            raise
        raise _not_applied(connection, schema, projection, migration, error) from error


def _record(
    connection: Connection,
    schema: str,
    projection: str,
    before: set[SchemaObject],
    after: set[SchemaObject],
) -> None:
    for found in before - after:
        connection.execute(query("delete_object", schema), (found.kind, found.name))
    for found in after - before:
        row = (found.kind, found.name, projection)
        connection.execute(query("save_object", schema), row)


def _own_objects(connection: Connection, schema: str) -> set[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace"
        r" AND relname LIKE 'eskit\_%%'",
        (f'"{schema.replace(chr(34), chr(34) * 2)}"',),
    )
    return {name for (name,) in rows}


def _not_applied(
    connection: Connection,
    schema: str,
    projection: str,
    migration: Migration,
    error: psycopg.Error,
) -> MigrationInvalid:
    words = set(re.findall(r"\w+", migration.sql))
    told = error.diag.message_primary or str(error)
    rows = connection.execute(query("list_owners", schema), ()).fetchall()
    owners = sorted({owner for _, name, owner in rows if name in words and owner != projection})
    if owners:
        return MigrationInvalid(
            f"Migration {migration.name} of projection {projection!r} does not run, because "
            f"of what belongs to {owners[0]!r}: {told}",
            hint=f"If {owners[0]!r} was renamed: eskit project rename {owners[0]} "
            f"{projection}. If not, give every projection tables of its own.",
        )
    return MigrationInvalid(
        f"Migration {migration.name} of projection {projection!r} does not run: {told}",
        hint="Fix the migration, or the table named in the error: nothing of it was applied.",
    )
