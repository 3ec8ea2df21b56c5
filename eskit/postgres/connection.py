"""Connections to PostgreSQL that keep eskit's promises, and servers that cannot.

Every connection is checked and set before it is used: READ COMMITTED whatever the role's or the
database's default, the schema as the only search path, keep-alive probes, so that a host that
vanished is noticed within half a minute. Through a pooler in transaction mode no session stays the
same, so each transaction brings what it needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import sql

from eskit.errors import StoreUnavailable, Unsupported
from eskit.postgres.errors import translated
from eskit.postgres.url import PostgresUrl

OLDEST = 150_000
"""The first version that eskit supports, as the server tells it."""
_CONNECT_TIMEOUT = 10
_KEEPALIVE: Mapping[str, Any] = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
_SESSION: Mapping[str, str] = {
    "default_transaction_isolation": "read committed",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
_OTHERS: Mapping[str, str] = {
    "CockroachDB": "it has no LISTEN, and its advisory locks did not lock for years",
    "YugabyteDB": "its advisory locks and LISTEN are not those of PostgreSQL",
    "-YB-": "its advisory locks and LISTEN are not those of PostgreSQL",
    "Aurora DSQL": "it has no PL/pgSQL and no advisory locks",
}


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection to one schema; `pooled` says that a pooler shares out the sessions behind it."""

    pooled = False
    _search_path: sql.Composed

    def settle(self, schema: str) -> None:
        """See what is at the other end, and have statements use the schema."""
        (pid,) = self.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        path = sql.SQL("{}, pg_temp").format(sql.Identifier(schema))
        self._search_path = sql.SQL("SET LOCAL search_path = {}").format(path)
        self.pooled = pid != self.info.backend_pid
        if self.pooled:
            self.prepare_threshold = None
            self.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            return
        settings = {**_SESSION, "search_path": path.as_string(self)}
        pairs = [text for pair in settings.items() for text in pair]
        calls = sql.SQL(", ").join([sql.SQL("set_config(%s, %s, false)")] * len(settings))
        self.execute(sql.SQL("SELECT {}").format(calls), pairs)

    def check_session(self) -> None:
        """Raise Unsupported where no session stays this connection's: it would lose its locks."""
        if self.pooled:
            raise Unsupported(
                "No lock can be held through a connection pooler, which shares out its sessions",
                hint="Name the PostgreSQL server itself in the URL.",
            )

    @contextlib.contextmanager
    def transaction(
        self,
        savepoint_name: str | None = None,
        force_rollback: bool = False,  # noqa: FBT001, FBT002 - as psycopg has it
    ) -> Iterator[psycopg.Transaction]:
        """A transaction, or a savepoint in one; see `psycopg.Connection.transaction`."""
        outermost = self.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        with super().transaction(savepoint_name, force_rollback) as transaction:
            if self.pooled and outermost:
                self.execute(self._search_path)
            yield transaction

    @contextlib.contextmanager
    def in_schema(self) -> Iterator[None]:
        """Statements of the block find the schema, each in a transaction of its own.

        Through a pooler they are one transaction: its begin goes with the first of them, and its
        end with the last whose rows are not fetched inside the block.
        """
        if not self.pooled:
            yield
            return
        try:
            with self.pipeline() as pipeline:
                self.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                self.execute(self._search_path)
                try:
                    yield
                except psycopg.Error:
                    with contextlib.suppress(psycopg.Error):  # of what came behind the failed one
                        pipeline.sync()
                    raise
                self.execute("COMMIT")
        except BaseException:
            if not self.closed:
                self.rollback()
            raise


def connect(url: PostgresUrl, *, name: str = "eskit") -> Connection:
    """A new connection in autocommit mode, set up; raises StoreUnavailable."""
    with translated(url.shown):
        connection = Connection.connect(
            url.libpq,
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT,
            application_name=name,
            client_encoding="UTF8",
            **_KEEPALIVE,
        )
        try:
            connection.settle(url.schema)
        except BaseException:
            connection.close()
            raise
    return connection


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
