"""The tables and functions of a store: made, brought up to date, and checked.

Many processes may start at once on an empty database: one makes the tables under a lock that the
others wait for, in one transaction.
"""

from __future__ import annotations

import hashlib
import json
from uuid import uuid4

import psycopg
from psycopg import sql

from eskit.errors import StoreError, StoreUnavailable
from eskit.postgres.connection import Connection, is_standby
from eskit.postgres.lock import holders_script
from eskit.postgres.url import PostgresUrl
from eskit.store.postgres.sql import functions, migrations

_DIGEST = hashlib.sha256(
    json.dumps([*migrations(), functions(), holders_script()]).encode()
).hexdigest()


def lock_key(schema: str) -> int:
    """The key of a store's lock; PostgreSQL keeps the locks of databases apart by itself."""
    return int.from_bytes(
        hashlib.sha256(f"eskit:{schema}".encode()).digest()[:8], "big", signed=True
    )


def current_version() -> int:
    """The version of the tables that this eskit writes."""
    return len(migrations())


def find_version(connection: Connection) -> int:
    """The version of the store's tables; 0 where there is no store."""
    try:
        row = connection.execute("SELECT value FROM store WHERE key = 'version'").fetchone()
    except psycopg.errors.UndefinedTable:
        return 0
    return int(row[0]) if row else 0


def open_schema(connection: Connection, url: PostgresUrl, *, create: bool) -> str:
    """The id of the store, which is made if it is not there and `create` says so.

    Raises StoreUnavailable for a store that is not there, and StoreError for one of another
    version of eskit.
    """
    version = find_version(connection)
    if not version and not create:
        raise StoreUnavailable(
            f"There is no store at {url.shown}", hint="Create it: eskit store init"
        )
    if version > current_version():
        raise StoreError(
            f"{url.shown} has schema version {version}, made by a newer eskit",
            code="SCHEMA_TOO_NEW",
            hint="Upgrade eskit.",
        )
    if 0 < version < current_version():
        raise StoreError(
            f"{url.shown} has schema version {version}, and this eskit needs {current_version()}",
            code="SCHEMA_OUTDATED",
            hint="Back it up with pg_dump, then run: eskit store migrate",
        )
    if not version or (_find(connection, "functions") != _DIGEST and not is_standby(connection)):
        migrate(connection, url)
    return _find(connection, "store_id")


def migrate(connection: Connection, url: PostgresUrl) -> tuple[int, int]:
    """Bring the tables and functions up to date; the version before and after."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(url.schema),))
        connection.execute(
            sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(url.schema))
        )
        before = find_version_inside(connection, url)
        for script in migrations()[before:]:
            connection.execute(script)
        connection.execute(functions())
        connection.execute(holders_script())
        values = {"version": str(current_version()), "functions": _DIGEST}
        if not before:
            values["store_id"] = str(uuid4())
        for key, value in values.items():
            connection.execute(
                "INSERT INTO store (key, value) VALUES (%s, %s)"
                " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )
    return before, current_version()


def find_version_inside(connection: Connection, url: PostgresUrl) -> int:
    """The version, asked for so that a transaction survives a table that is not there."""
    found = connection.execute(
        "SELECT to_regclass(%s) IS NOT NULL",
        (sql.Identifier(url.schema, "store").as_string(connection),),
    ).fetchone()
    return find_version(connection) if found and found[0] else 0


def _find(connection: Connection, key: str) -> str:
    row = connection.execute("SELECT value FROM store WHERE key = %s", (key,)).fetchone()
    return str(row[0]) if row else ""
