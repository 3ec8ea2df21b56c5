"""The read models in one schema: its readers, its writers, and the rebuilds beside it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import ReadModelUnavailable
from eskit.postgres.connection import Connection
from eskit.postgres.lock import LockSession
from eskit.postgres.pool import Pool
from eskit.postgres.url import parse_url
from eskit.projections.port import Activity
from eskit.projections.postgres.database import PostgresDatabase
from eskit.projections.postgres.live import PostgresLiveReadModel
from eskit.projections.postgres.locks import PostgresLock, WritingSessions
from eskit.projections.postgres.read_model import ensure_bookkeeping, find_records
from eskit.projections.postgres.session import (
    NOTHING_THERE,
    Transactions,
    connect_to_rows,
    translated,
)
from eskit.projections.postgres.shadow import shadow_schema
from eskit.projections.postgres.sql import query
from eskit.projections.records import Kind, Record
from eskit.sqlite.forking import HINT

DEFAULT_SCHEMA = "eskit_read"
# Connections of a process, beside one or two for each thread that writes: for queries, and for
# looks at records and locks, which take no longer than a statement.
_READERS = 4
_LOOKS = 2


class PostgresReadModels:
    """See `eskit.projections.port.ReadModels`.

    What a thread locks and what it opens share a session, so that whoever loses the lock loses the
    transaction.
    """

    def __init__(self, url: str, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._url = parse_url(url, schema=DEFAULT_SCHEMA)
        self._clock = clock
        self._readers = Pool(self._connect, _READERS)
        self._looks = Pool(self._connect, _LOOKS)
        self._sessions = WritingSessions(self._make_session)
        self._asking = self._make_session()
        self._process = os.getpid()
        self._closed = False

    def open(self, *, stop: threading.Event | None = None) -> PostgresLiveReadModel:  # noqa: ARG002
        """Connect, and make the schema if it is missing; waits for others at most half a minute."""
        self._check_open()
        return PostgresLiveReadModel(self._sessions.open, self._url, clock=self._clock)

    @contextmanager
    def reader(self) -> Iterator[PostgresDatabase]:
        """A connection from a pool inside one read-only transaction, behind the gate."""
        self._check_open()
        stack, database = self._begin_reading()
        with stack:
            yield database

    def records(
        self, kind: Kind, name: str | None = None, key: str | None = None, *, shadow: bool = False
    ) -> list[Record]:
        """Rows of eskit_records, of the live rows or of those of an unfinished rebuild."""
        self._check_open()
        schema = self._url.schema
        if shadow:
            if name is None:
                return []
            schema = shadow_schema(schema, name, "rebuild")
        with translated(self._url.shown):
            return self._looks.run(
                lambda connection: find_records(connection, schema, kind, name, key)
            )

    def lock(self, name: str, activity: Activity) -> PostgresLock:
        """A lock of the session in which the thread that takes it writes."""
        return PostgresLock(self._sessions, f"{activity} {name}", asking=self._asking)

    def close(self) -> None:
        """Close the connections that nobody writes on; in a forked child they are its parent's."""
        if os.getpid() == self._process:
            self._closed = True
            self._readers.close()
            self._looks.close()

    def _begin_reading(self) -> tuple[ExitStack, PostgresDatabase]:
        """One moment; over a new connection where one that was idle has been lost."""
        try:
            return self._begin_on(fresh=False)
        except ReadModelUnavailable as error:
            if not _is_of_lost_connection(error):
                raise
        return self._begin_on(fresh=True)

    def _begin_on(self, *, fresh: bool) -> tuple[ExitStack, PostgresDatabase]:
        with ExitStack() as stack:
            connection = stack.enter_context(self._readers.borrow(fresh=fresh))
            reading = Transactions(
                connection,
                self._url.shown,
                begin="BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                begun=lambda: self._pass_gate(reading),
                prepare=False,
            )
            stack.enter_context(reading.run())
            return stack.pop_all(), reading.db

    def _pass_gate(self, reading: Transactions) -> None:
        """Wait for an exchange of rows to end; the moment is only chosen by the next statement."""
        reading.statements.add(query("lock_gate", self._url.schema), ())
        try:
            reading.flush()
        except NOTHING_THERE:
            raise ReadModelUnavailable(
                f"No read model at {self._url.shown} yet", hint="Make it: eskit project run"
            ) from None

    def _connect(self) -> Connection:
        return connect_to_rows(self._url)

    def _connect_to_write(self) -> Connection:
        connection = self._connect()
        try:
            with translated(self._url.shown):
                ensure_bookkeeping(connection, self._url, self._url.schema)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_session(self) -> LockSession:
        return LockSession(
            self._connect_to_write,
            self._looks,
            schema=self._url.schema,
            translated=lambda: translated(self._url.shown),
        )

    def _check_open(self) -> None:
        if self._closed:
            raise ReadModelUnavailable(f"{self._url.shown} is closed", hint="Open it again.")
        if os.getpid() != self._process:
            raise ReadModelUnavailable(
                f"{self._url.shown} was opened before this process was forked", hint=HINT
            )


def _is_of_lost_connection(error: ReadModelUnavailable) -> bool:
    cause = error.__cause__
    return isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None
