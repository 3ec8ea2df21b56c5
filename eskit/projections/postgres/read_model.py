"""Rows and records of one or more projections in one schema, opened for writing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from eskit.errors import InvalidArgument, ReadModelUnavailable
from eskit.postgres.connection import Connection
from eskit.postgres.lock import holders_script
from eskit.postgres.url import PostgresUrl
from eskit.projections.migrations import Migration
from eskit.projections.postgres.database import PostgresDatabase
from eskit.projections.postgres.migrations import apply_migrations
from eskit.projections.postgres.sequences import Sequences
from eskit.projections.postgres.session import (
    NOTHING_THERE,
    Transactions,
    is_transient,
    translated,
)
from eskit.projections.postgres.sql import create_bookkeeping, query
from eskit.projections.records import Kind, Record

SCHEMA_VERSION = 1


class PostgresReadModel:
    """See `eskit.projections.port.ReadModel`.

    `schema` holds the rows; `let_go` is called with the end of its use.
    """

    def __init__(
        self,
        connection: Connection,
        url: PostgresUrl,
        schema: str,
        *,
        let_go: Callable[[], None],
        begin: str = "BEGIN",
    ) -> None:
        self._connection = connection
        self._url = url
        self._schema = schema
        self._let_go = let_go
        self._transactions = Transactions(
            connection, url.shown, begin=begin, begun=self._begin, ending=self._end
        )
        self._sequences = Sequences(self._transactions.statements, schema)
        try:
            with translated(url.shown):
                ensure_bookkeeping(connection, url, schema)
        except BaseException:
            self.close()
            raise

    @property
    def db(self) -> PostgresDatabase:
        """What handlers are given."""
        return self._transactions.db

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction, or a savepoint inside another.

        Records of a projection are locked from the first use until its end.
        """
        return self._transactions.run()

    def flush(self) -> None:
        """Send what handlers' statements have put off."""
        self._transactions.statements.flush()

    def is_transient(self, error: BaseException) -> bool:
        """Whether PostgreSQL reports a condition of the server or the connection."""
        return is_transient(error)

    def records(self, kind: Kind, name: str | None = None, key: str | None = None) -> list[Record]:
        """Rows of eskit_records."""
        if name is not None:
            self._lock(name)
        return [Record(*row) for row in self._run(*select_records(self._schema, kind, name, key))]

    def save(self, record: Record) -> None:
        """Write a row of eskit_records."""
        self._lock(record.projection)
        row = (record.kind, record.projection, record.key, record.value)
        self._add("save_record", *row)

    def delete(self, kind: Kind, name: str, key: str) -> None:
        """Delete a row of eskit_records."""
        self._lock(name)
        self._add("delete_record", kind, name, key)

    def migrate(self, name: str, migrations: Sequence[Migration]) -> None:
        """Run each migration, and note in eskit_objects what they make."""
        self._lock(name)
        self._transactions.flush()
        with translated(self._url.shown):
            apply_migrations(self._connection, self._schema, name, migrations)
        self._changed()

    def rename(self, old: str, new: str) -> None:
        """Write the new name into eskit's own tables."""
        self._lock(old)
        self._lock(new)
        self._add("forget_records", new, old)
        self._add("rename_records", new, old)
        self._add("rename_objects", new, old)
        self._transactions.flush()

    def close(self) -> None:
        """Let go of the connection."""
        self._let_go()

    def _begun(self) -> None:
        """Called at the beginning of a transaction, which may not have been sent yet."""

    def _ending(self) -> None:
        """Called at its end."""

    def _begin(self) -> None:
        self._sequences.begin()
        self._begun()

    def _end(self) -> None:
        self._ending()
        with translated(self._url.shown):
            self._sequences.note()

    def _changed(self) -> None:
        """Look again at tables that were made or exchanged."""
        self._transactions.statements.forget_prepared()
        self._sequences.forget()

    def _lock(self, name: str, *, put_back: bool = True) -> None:
        if self._transactions.lock(f"eskit read model {self._schema} {name}"):
            with translated(self._url.shown):
                self._sequences.take(name, put_back=put_back)

    def _add(self, name: str, *parameters: Any) -> None:
        with translated(self._url.shown):
            self._transactions.statements.add(query(name, self._schema), parameters)
            if not self._transactions.is_open:
                self._transactions.statements.flush()

    def _run(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        self._transactions.flush()  # what handlers have put off may fail as theirs
        with translated(self._url.shown):
            return self._transactions.statements.add(sql, parameters).fetchall()


def select_records(
    schema: str, kind: Kind, name: str | None, key: str | None
) -> tuple[str, tuple[str, ...]]:
    """The statement for records of a kind, by projection and then key, and its parameters."""
    if name is None:
        return query("list_records", schema), (kind,)
    if key is None:
        return query("find_records", schema), (kind, name)
    return query("find_record", schema), (kind, name, key)


def find_records(
    connection: Connection, schema: str, kind: Kind, name: str | None, key: str | None
) -> list[Record]:
    """The records of a kind; none where nothing was written yet."""
    version = find_schema_version(connection, schema)
    if version is None:
        return []
    _check_version(version, schema)
    rows = connection.execute(*select_records(schema, kind, name, key)).fetchall()
    return [Record(*row) for row in rows]


def find_schema_version(connection: Connection, schema: str) -> int | None:
    """The version of eskit's own tables in a schema; None where there are none yet."""
    try:
        row = connection.execute(query("find_version", schema), ()).fetchone()
    except NOTHING_THERE:
        return None
    return int(row[0]) if row else None


def ensure_bookkeeping(connection: Connection, url: PostgresUrl, schema: str) -> None:
    """Make eskit's own tables, once for all who start at the same time."""
    version = find_schema_version(connection, schema)
    if version is None:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (schema,))
            _refuse_store(connection, url, schema)
            connection.execute("SET LOCAL client_min_messages = warning")
            connection.execute(create_bookkeeping(schema).encode())
            if schema == url.schema:  # is searched
                connection.execute(holders_script())
            connection.execute(query("save_version", schema), (str(SCHEMA_VERSION),))
    else:
        _check_version(version, schema)


def _check_version(version: int, schema: str) -> None:
    if version > SCHEMA_VERSION:
        raise ReadModelUnavailable(
            f"The read models in schema {schema} were written by a newer eskit (version {version} "
            "of its tables)",
            hint="Upgrade eskit, or choose another schema in read_models: ?schema=NAME",
        )


def _refuse_store(connection: Connection, url: PostgresUrl, schema: str) -> None:
    """Keep migrations of projections away from the events."""
    found = connection.execute(
        "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename IN ('store', 'events')",
        (schema,),
    ).fetchone()
    if found == (2,):
        raise InvalidArgument(
            f"{url.shown} is the schema of an event store, which read models may not share",
            hint=f"Choose another schema in read_models, for example ?schema={schema}_read",
        )
