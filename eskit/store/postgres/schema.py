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
from eskit.postgres.errors import ROLES_HINT
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
        return int(_find(connection, "version") or 0)
    except psycopg.errors.UndefinedTable:
        return 0


def open_schema(connection: Connection, url: PostgresUrl, *, create: bool) -> str:
    """The id of the store, which is made if it is not there and `create` says so.

    Raises StoreUnavailable for a store that is not there, and StoreError for one of another
    version of eskit.
    """
    version = find_version(connection)
    usable, changeable = _rights(connection, url)
    if not version and usable is False:
        raise StoreUnavailable(
            f"{url.shown} does not let its user into the schema {url.schema}", hint=ROLES_HINT
        )
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
    if not version:
        migrate(connection, url)
    elif _find(connection, "functions") != _DIGEST and not is_standby(connection):
        if changeable:
            migrate(connection, url)
        elif _may_append(connection, url):
            raise StoreError(
                f"{url.shown} has the functions of another eskit, which its user may not replace",
                code="SCHEMA_OUTDATED",
                hint="Run as the owner of the store: eskit store migrate",
            )
    return _find(connection, "store_id")


def migrate(connection: Connection, url: PostgresUrl) -> tuple[int, int]:
    """Bring the tables and functions up to date; the version before and after."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(url.schema),))
        if _rights(connection, url)[0] is None:
            # Not IF NOT EXISTS, which asks for the right to create one even where there is one.
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(url.schema)))
        before = find_version(connection)
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


def _rights(connection: Connection, url: PostgresUrl) -> tuple[bool | None, bool]:
    """Whether the user may look into the schema, None if there is none, and may change it."""
    row = connection.execute(
        "SELECT has_schema_privilege(oid, 'USAGE'), pg_has_role(nspowner, 'USAGE')"
        " FROM pg_namespace WHERE nspname = %s",
        (url.schema,),
    ).fetchone()
    return row or (None, True)


def _may_append(connection: Connection, url: PostgresUrl) -> bool:
    """Whether the user may execute the function `append`, by whatever arguments."""
    row = connection.execute(
        "SELECT bool_or(has_function_privilege(p.oid, 'EXECUTE')) FROM pg_proc p"
        " JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = %s AND p.proname = 'append'",
        (url.schema,),
    ).fetchone()
    return bool(row and row[0])


def _find(connection: Connection, key: str) -> str:
    with connection.transaction():
        row = connection.execute("SELECT value FROM store WHERE key = %s", (key,)).fetchone()
    return str(row[0]) if row else ""
