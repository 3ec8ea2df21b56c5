"""The event store in PostgreSQL, in daily use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.string import ByteaBinaryLoader

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.commands import AppendResult
from eskit.domain.time import to_microseconds
from eskit.errors import StoreUnavailable
from eskit.postgres.arrays import add_dumpers
from eskit.postgres.connection import Connection, check_server, connect, is_standby
from eskit.postgres.errors import ROLES_HINT, translated
from eskit.postgres.lock import LockSession, SessionLock
from eskit.postgres.pool import Pool
from eskit.postgres.url import PostgresUrl
from eskit.processes.holding import Lock
from eskit.sqlite.forking import HINT
from eskit.store.appending import Append
from eskit.store.copies import read_state
from eskit.store.notifying import AppendNotifier
from eskit.store.port import About, Kept, Kind, Select, Shape, StreamKey
from eskit.store.postgres.append import AppendCommitter
from eskit.store.postgres.following import Listener
from eskit.store.postgres.read import Names, read
from eskit.store.postgres.rows import TABLES, stream_info
from eskit.store.postgres.schema import current_version, lock_key, open_schema
from eskit.store.postgres.sql import query
from eskit.store.postgres.view import PostgresView
from eskit.store.records import Checkpoint, ClaimRow, Record, StreamInfo
from eskit.store.writer import Writer

Result = TypeVar("Result")

_READERS = 8
_ERASED = ("events", "claims", "commands", "snapshots")
"""Tables whose rows an erasure changes or drops."""
_POLL = (0.02, 0.25)
_POLL_BESIDE_LISTENER = (1.0, 5.0)


class PostgresStorage:
    """A Storage in one schema of a PostgreSQL database; any number of processes use it at once.

    It holds at most eleven connections: one that appends, one that listens, one that has locks, and
    eight for all else. A standby and a pooler cannot be listened to: who waits for events looks for
    them.
    """

    def __init__(
        self, url: PostgresUrl, *, create: bool, command_ttl: timedelta, clock: Clock
    ) -> None:
        """Open the store, or create it; raises StoreUnavailable."""
        self._url = url
        self._command_ttl = command_ttl
        self._clock = clock
        self._process = os.getpid()
        self._closed = False
        self._lock = lock_key(url.schema)
        self._names = Names()
        self._notifier = AppendNotifier(clock)
        self._pool = Pool(self._connect, _READERS)
        try:
            self._open(create=create)
        except BaseException:
            self._pool.close()
            raise
        self._locks = LockSession(
            lambda: connect(url, name="eskit lock"),
            self._pool,
            schema=url.schema,
            translated=lambda: translated(url.shown),
        )
        channel = f"eskit_{self._lock & (2**64 - 1):016x}"
        self._writer = Writer(
            AppendCommitter(
                self._connect,
                url=url.shown,
                lock=self._lock,
                channel=channel,
                committed=self._notifier.notify,
                clock=clock,
            ),
            url.shown,
            clock,
        )
        self._listener = (
            None
            if self._pooled or self._standby
            else Listener(self._connect, channel, self._notifier.notify, clock)
        )

    def _open(self, *, create: bool) -> None:
        """Check the server and the schema, and see what kind of server it is."""
        url = self._url
        with translated(url.shown), self._pool.borrow() as one, self._pool.borrow() as other:
            check_server(one, other, url, self._lock)
            self._store_id = open_schema(one, url, create=create)
            self._synchronous = _setting(one, "synchronous_commit")
            self._pooled, self._standby = one.pooled, is_standby(one)

    def about(self) -> About:
        """URL, id, size and settings."""
        (size,) = self._one(query("measure"), (self._quoted_schema(),))
        return About(
            url=self._url.shown,
            store_id=self._store_id,
            command_ttl=self._command_ttl,
            schema_version=current_version(),
            bytes=int(size),
            settings={
                "schema": self._url.schema,
                "synchronous_commit": self._synchronous,
                "server": "standby" if self._standby else "primary",
                "pooler": "yes" if self._pooled else "no",
            },
        )

    def append(self, append: Append) -> AppendResult:
        """Append with whoever appends at the same time, and wait for the commit."""
        self._check_open()
        result: AppendResult = self._writer.run(None, append)
        return result

    def submit(self, append: Append) -> Future[AppendResult]:
        """The same without waiting."""
        self._check_open()
        return self._writer.submit(None, append)

    def read(self, select: Select[Shape], size: int) -> Sequence[Shape]:
        """The first `size` events of a selection."""
        return self._run(lambda connection: read(connection, self._names, select, size))

    def count(self, select: Select[Any]) -> int:
        """How many events of the log lie between two positions, of some types or of all."""
        bounds = (select.after, select.before)
        if select.event_types:
            types = list(select.event_types)
            return int(self._one(query("count_events_of_types"), (*bounds, types))[0])
        return int(self._one(query("count_events"), bounds)[0])

    def streams(
        self, after: StreamKey, *, prefix: str, tenant: str | None, size: int
    ) -> Sequence[StreamInfo]:
        """The next `size` streams by name and tenant, of those that have events."""
        parameters = {
            "name": after[0],
            "tenant": after[1],
            "prefix": prefix,
            "only": tenant,
            "size": size,
        }
        return [stream_info(*row) for row in self._all(query("list_streams"), parameters)]

    def find(self, kind: type[Kind], *key: str) -> Sequence[Kind]:
        """The rows of a kind whose keys begin with `key`, sorted."""
        if kind is ClaimRow and len(key) == len(TABLES[kind].keys):
            rows = self._all(query("find_owner"), key)
            tenant, index, value = key
            return [ClaimRow(tenant, index, value, stream) for (stream,) in rows]
        table = TABLES[kind]
        statement = table.statement(key=len(key))
        return [table.make(*row) for row in self._all(statement, key)]

    def keep(
        self, put: Sequence[Kept] = (), drop: Sequence[Kept] = (), *, under: Lock | None = None
    ) -> bool:
        """Put and drop rows, all or none; under a lock on its session, which it ends with."""
        self._check_open()
        with translated(self._url.shown), self._writing(under) as connection:
            with connection.transaction() as transaction:
                # Records first, in the order in which an exclusive view locks the tables.
                ordered = sorted(put, key=lambda row: not isinstance(row, Record))
                changed = [_put(connection, row) for row in ordered]
                changed += [_drop(connection, row) for row in drop]
                if not changed:
                    connection.execute(query("touch"))
                # Looked at last: from now on whoever closes the store waits for this transaction.
                for (state,) in connection.execute(query("find_copy_state")):
                    raise read_state(state).refusal()
                if not all(changed):
                    raise psycopg.Rollback(transaction)
            return all(changed)

    def head(self, past: int = -1, timeout: float = 0.0) -> int:
        """The position of the last event; waits until it is past a position, or time is over."""
        found = -1

        def is_past() -> bool:
            nonlocal found
            found = self._head()
            return found > past

        if timeout <= 0 or is_past():
            return found if found >= 0 else self._head()
        if self._listener is not None:
            self._listener.start()
        listening = self._listener is not None and self._listener.listening
        poll = _POLL_BESIDE_LISTENER if listening else _POLL
        self._notifier.wait_until(is_past, timeout, poll=poll)
        return found

    def microseconds(self) -> int:
        """The time of the server, which is one for all hosts; unless the clock is another one."""
        if self._clock is not SYSTEM_CLOCK:
            return self._clock.microseconds()
        return int(self._one("SELECT microseconds()", ())[0])

    def lock(self, name: str) -> SessionLock:
        """A lock of the server, on a session that all locks of this store share."""
        return self._locks.lock(name)

    @contextmanager
    def view(self, *, exclusive: bool = False) -> Iterator[PostgresView]:
        """The whole store at this moment; an exclusive one has every writer wait."""
        self._check_open()
        with (
            translated(self._url.shown),
            self._pool.borrow() as connection,
            connection.transaction(),
        ):
            if exclusive:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (self._lock,))
                connection.execute("LOCK TABLE records, checkpoints IN SHARE ROW EXCLUSIVE MODE")
            else:
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                connection.execute("SELECT 1")  # the first statement decides which moment it is
            yield PostgresView(connection, self._names, self._url, self._quoted_schema())
        if exclusive:
            self._notifier.notify()

    def scrub(self) -> None:
        """Write the tables anew, without what was erased; others wait meanwhile."""
        self._check_open()
        skipped: list[str] = []

        def note(diagnostic: psycopg.errors.Diagnostic) -> None:
            if diagnostic.severity_nonlocalized == "WARNING":
                skipped.append(diagnostic.message_primary or "")

        with translated(self._url.shown), self._pool.borrow() as connection:
            schema = sql.Identifier(self._url.schema)
            tables = [sql.SQL("{}.{}").format(schema, sql.Identifier(name)) for name in _ERASED]
            # Of a table that is another's PostgreSQL only says that it leaves it out.
            connection.add_notice_handler(note)
            try:
                connection.execute(
                    sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.SQL(", ").join(tables))
                )
            finally:
                connection.remove_notice_handler(note)
        if skipped:
            raise StoreUnavailable(
                f"{self._url.shown} does not let its user do that: {skipped[0]}", hint=ROLES_HINT
            )

    def close(self) -> None:
        """Finish what is being appended and let go of every connection; idempotent."""
        if os.getpid() != self._process:
            return
        self._closed = True
        if self._listener is not None:
            self._listener.stop()
        self._writer.close()
        self._locks.close()
        self._pool.close()
        self._notifier.notify()

    def _connect(self) -> Connection:
        connection = connect(self._url)
        # An event id as its 16 bytes, by a loader that is written in C.
        connection.adapters.register_loader("uuid", ByteaBinaryLoader)
        add_dumpers(connection)
        return connection

    def _writing(self, under: Lock | None) -> AbstractContextManager[Connection]:
        if isinstance(under, SessionLock):
            return nullcontext(under.connection)
        return self._pool.borrow()

    def _head(self) -> int:
        rows = self._all(query("find_head"), ())
        return int(rows[0][0]) if rows else 0

    def _one(self, statement: Any, parameters: Any) -> tuple[Any, ...]:
        return self._all(statement, parameters)[0]

    def _all(self, statement: Any, parameters: Any) -> list[tuple[Any, ...]]:
        def work(connection: Connection) -> list[tuple[Any, ...]]:
            with connection.cursor(binary=True) as cursor:
                return cursor.execute(statement, parameters).fetchall()

        return self._run(work)

    def _run(self, work: Callable[[Connection], Result]) -> Result:
        self._check_open()
        with translated(self._url.shown):
            return self._pool.run(work)

    def _quoted_schema(self) -> str:
        return '"{}"'.format(self._url.schema.replace('"', '""'))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._url.shown} is closed", hint="Open the store again.")
        if os.getpid() != self._process:
            raise StoreUnavailable(
                f"{self._url.shown} was opened before this process was forked", hint=HINT
            )


def _setting(connection: Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return str(row[0]) if row else ""


def _put(connection: Connection, row: Kept) -> bool:
    if isinstance(row, Checkpoint):
        time = to_microseconds(row.updated_at)
        place = (row.name, row.store_id, row.position, row.event_id, time)
        return _done(connection, "save_checkpoint", place)
    if isinstance(row, Record):
        values = (row.kind, row.key, row.value, to_microseconds(row.updated_at))
        if row.revision == 1:
            return _done(connection, "insert_record", values)
        return _done(connection, "update_record", (*values, row.revision - 1))
    return _done(
        connection,
        "save_snapshot",
        (
            *(row.stream, row.tenant, row.version, UUID(row.event_id), row.schema),
            *(row.fold_version, to_microseconds(row.created_at), row.checksum, row.state),
        ),
    )


def _drop(connection: Connection, row: Kept) -> bool:
    if isinstance(row, Record):
        return _done(connection, "delete_record", (row.kind, row.key, row.revision))
    if isinstance(row, Checkpoint):
        return _done(connection, "delete_checkpoint", (row.name,))
    return _done(connection, "delete_snapshot", (row.stream, row.tenant, row.version))


def _done(connection: Connection, name: str, values: tuple[Any, ...]) -> bool:
    """Whether the function of that name has changed a row."""
    row = connection.execute(query(name), values).fetchone()
    return row is not None and row[0] is True
