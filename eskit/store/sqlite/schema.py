"""The tables of the file: numbered migrations, and what is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from uuid import UUID, uuid4

from eskit.clock import Clock
from eskit.errors import StoreDamaged, StoreError
from eskit.sqlite.connections import begin_immediate, roll_back

APPLICATION_ID = 0x65736B74
"""``eskt`` in the header of the file: tells an eskit store from any other database."""

_MIGRATIONS = Path(__file__).parent / "migrations"


@cache
def current_version() -> int:
    """The schema version that this eskit reads and writes."""
    return len(_migration_files())


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever created in the file."""
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return tables == 0 and _pragma(connection, "application_id") == 0


def create_schema(connection: sqlite3.Connection, url: str, timeout: float, clock: Clock) -> None:
    """Create the store in an empty file, unless another process is quicker."""
    begin_immediate(connection, url, timeout, clock)
    try:
        if is_empty(connection):
            for version in range(1, current_version() + 1):
                for statement in migration_statements(version):
                    connection.execute(statement)
            connection.execute(
                "INSERT INTO store (key, value) VALUES ('store_id', ?)", (str(uuid4()),)
            )
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {current_version()}")
        connection.execute("COMMIT")
    finally:
        roll_back(connection)


def check_schema(connection: sqlite3.Connection, url: str) -> None:
    """Raise STORE_NOT_RECOGNISED, SCHEMA_OUTDATED or SCHEMA_TOO_NEW if the file does not fit."""
    version = read_version(connection, url)
    if version < current_version():
        raise StoreError(
            f"{url} has schema version {version}, this eskit needs {current_version()}",
            code="SCHEMA_OUTDATED",
            hint="Run: eskit store migrate",
        )


def read_version(connection: sqlite3.Connection, url: str) -> int:
    """The schema version of a store; raises STORE_NOT_RECOGNISED or SCHEMA_TOO_NEW."""
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise StoreDamaged(
            f"{url} is not an eskit store",
            code="STORE_NOT_RECOGNISED",
            hint="Check the path of the store.",
        )
    version = _pragma(connection, "user_version")
    if version > current_version():
        raise StoreError(
            f"{url} has schema version {version}, this eskit knows {current_version()}",
            code="SCHEMA_TOO_NEW",
            hint="Upgrade eskit: pip install --upgrade eskit",
        )
    return version


def find_missing_parts(connection: sqlite3.Connection) -> Iterator[str]:
    """The tables and indexes that the file's schema has, and the file has not or has otherwise."""
    found = _declarations(connection)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
        for version in range(1, _pragma(connection, "user_version") + 1):
            for statement in migration_statements(version):
                model.execute(statement)
        for part, declaration in _declarations(model).items():
            kind, name = part
            if part not in found:
                yield f"The {kind} {name} is missing"
            elif found[part] != declaration:
                yield f"The {kind} {name} is not declared as it was made"


def _declarations(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY rowid")
    return {(kind, name): declaration for kind, name, declaration in rows}


def migration_statements(version: int) -> Iterator[str]:
    """What brings a store from the schema before to `version`."""
    return _statements(_migration_files()[version - 1].read_text(encoding="utf-8"))


def read_store_id(connection: sqlite3.Connection, url: str) -> str:
    """The UUID that the store got when it was made; StoreDamaged if it has none."""
    row = connection.execute("SELECT value FROM store WHERE key = 'store_id'").fetchone()
    try:
        return str(UUID(row[0]))
    except (AttributeError, TypeError, ValueError) as error:
        hint = "Restore it from a backup."
        raise StoreDamaged(f"{url} is damaged: it has no store id", hint=hint) from error


def _migration_files() -> list[Path]:
    return sorted(_MIGRATIONS.glob("[0-9][0-9][0-9][0-9]_*.sql"))


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: executescript would commit before the first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
