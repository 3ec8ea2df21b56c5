"""Connections to PostgreSQL that keep eskit's promises, and servers that cannot.

Every connection is checked and set before it is used: READ COMMITTED whatever the role's or the
database's default, the schema as the only search path, keep-alive probes, so that a host that
vanished is noticed within half a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import psycopg
from psycopg import sql

from eskit.errors import StoreUnavailable
from eskit.postgres.errors import translated
from eskit.postgres.url import PostgresUrl

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

OLDEST = 150_000
"""The first version that eskit supports, as the server tells it."""
_CONNECT_TIMEOUT = 10
_KEEPALIVE: Mapping[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
_SERVER_KEEPALIVE: Mapping[str, Any] = {
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}
_OTHERS: Mapping[str, str] = {
    "CockroachDB": "it has no LISTEN, and its advisory locks did not lock for years",
    "YugabyteDB": "its advisory locks and LISTEN are not those of PostgreSQL",
    "-YB-": "its advisory locks and LISTEN are not those of PostgreSQL",
    "Aurora DSQL": "it has no PL/pgSQL and no advisory locks",
}


def connect(url: PostgresUrl, *, name: str = "eskit") -> Connection:
    """A new connection in autocommit mode, set up; raises StoreUnavailable.

    The settings are the session's. So `check_server` refuses a pooler, which may give the session
    to another client.
    """
    with translated(url.shown):
        connection: Connection = psycopg.connect(
            url.libpq,
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT,
            application_name=name,
            **_KEEPALIVE,
        )
        try:
            settings = {
                "default_transaction_isolation": "read committed",
                "client_encoding": "UTF8",
                **{setting: str(value) for setting, value in _SERVER_KEEPALIVE.items()},
            }
            with connection.cursor() as cursor:
                for setting, value in settings.items():
                    cursor.execute("SELECT set_config(%s, %s, false)", (setting, value))
                cursor.execute(
                    sql.SQL("SET search_path = {}, pg_temp").format(sql.Identifier(url.schema))
                )
        except BaseException:
            connection.close()
            raise
    return connection


def is_pooled(connection: Connection) -> bool:
    """Whether a pooler stands between: its process is not the one that connected."""
    (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
    return bool(pid != connection.info.backend_pid)


def is_standby(connection: Connection) -> bool:
    """Whether the server follows another one, and accepts no writes."""
    (standby,) = connection.execute("SELECT pg_is_in_recovery()").fetchone() or (False,)
    return bool(standby)


def check_server(connection: Connection, other: Connection, url: PostgresUrl, key: int) -> None:
    """Raise StoreUnavailable for a server that cannot keep what eskit promises.

    `other` is a second connection: the lock on `key` that one has must hold up the other.
    """
    with translated(url.shown):
        version, encoding = connection.execute(
            "SELECT version(), current_setting('server_encoding')"
        ).fetchone() or ("", "")
        for engine, why in _OTHERS.items():
            if engine in version:
                raise StoreUnavailable(
                    f"{url.shown} is {engine.strip('-')}, which cannot keep eskit's order: {why}",
                    hint="Use PostgreSQL 15 or newer.",
                )
        if connection.info.server_version < OLDEST:
            raise StoreUnavailable(
                f"{url.shown} is PostgreSQL {connection.info.server_version // 10_000}",
                hint="Use PostgreSQL 15 or newer.",
            )
        if is_pooled(connection):
            raise StoreUnavailable(
                f"{url.shown} is a connection pooler, which may share sessions between clients",
                hint="Name the PostgreSQL server itself in the URL.",
            )
        if encoding != "UTF8":
            raise StoreUnavailable(
                f"The database of {url.shown} has the encoding {encoding}",
                hint="Create it with ENCODING 'UTF8'.",
            )
        if is_standby(connection):
            return
        with connection.transaction(), other.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (key,))
            (taken,) = other.execute("SELECT pg_try_advisory_xact_lock(%s)", (key,)).fetchone() or (
                True,
            )
        if taken:
            raise StoreUnavailable(
                f"A second session got past a lock on {url.shown}",
                hint="Advisory locks must lock: use PostgreSQL itself.",
            )
