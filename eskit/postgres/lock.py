"""Locks over all hosts: each belongs to a session of the server, and ends with it.

A lock is as good as the connection that has it, so what must be written under a lock is written on
that connection: who has lost the lock has lost the transaction. A thread says something on it twice
a second, also while a handler works. The server ends a session that it has not heard of for four
seconds: its holder is frozen, or its host has vanished. So does the holder by itself when the
server does not answer for as long.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import selectors
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg.pq import ConnStatus, PipelineStatus, TransactionStatus

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.errors import EskitError, StoreUnavailable
from eskit.postgres.connection import Connection, is_standby
from eskit.postgres.pool import Pool
from eskit.postgres.sql import read_script, read_statements

SILENCE = 4.0
"""After how many seconds without a word a session is over, for the server and for its holder."""
Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
_BEAT = 0.5
_LOOK_EVERY = 0.05
_FOLDER = Path(__file__).parent


def holders_script() -> LiteralString:
    """The script that makes the table of notes in a schema, for its migrations."""
    return read_script(_FOLDER / "holders.sql")


class LockSession:
    """A connection that has locks, opened when the first is taken, and the thread that keeps it.

    Any number of locks share it. Notes are written and read over the `pool`, so that they neither
    wait for what the connection does nor are undone with it. `translated` turns errors into
    eskit's.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        pool: Pool,
        *,
        schema: str,
        translated: Callable[[], AbstractContextManager[None]],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.pool = pool
        self.translated = translated
        self.clock = clock
        self._connect = connect
        self._schema = schema
        self._mutex = threading.Lock()
        self._connection: Connection | None = None
        self._taken: dict[int, SessionLock] = {}
        self._heard = 0.0
        self._closed = threading.Event()

    def lock(self, name: str) -> SessionLock:
        """A lock by name, not yet taken; the same name is the same lock on every host."""
        text = json.dumps(["lock", self._schema, name])
        digest = hashlib.sha256(text.encode()).digest()
        return SessionLock(self, name, int.from_bytes(digest[:8], "big", signed=True))

    def connection(self) -> Connection:
        """The connection that has the locks; a new one, without them, where that was lost."""
        with self._mutex:
            return self._open()

    def holds(self, lock: SessionLock) -> bool:
        """Whether a lock is held still, as far as this host can know. Asks nobody."""
        connection = self._connection
        if connection is None or lock.taken_on is not connection:
            return False
        if self.clock.monotonic() - self._heard < SILENCE:
            return True
        self._lose(connection)
        return False

    def take(self, lock: SessionLock) -> bool:
        """Take a lock, unless somebody has it; also when this session has it for another."""
        with self._mutex:
            if self.holds(lock):
                return True
            other = self._taken.get(lock.key)
            connection = self._open()
            if (other is not None and self.holds(other)) or not self._ask(
                connection, "take", lock.key
            ):
                return False
            self._taken[lock.key], lock.taken_on = lock, connection
            return self.holds(lock)

    def let_go(self, lock: SessionLock) -> None:
        """Let go of a lock; harmless when it is not held."""
        with self._mutex:
            connection, lock.taken_on = lock.taken_on, None
            if connection is not None and connection is self._connection:
                with contextlib.suppress(EskitError):  # then the session is over, and the lock free
                    self._ask(connection, "let_go", lock.key)

    def close(self) -> None:
        """Let go of all; idempotent."""
        self._closed.set()
        if self._connection is not None:
            self._lose(self._connection)

    def _open(self) -> Connection:
        if self._connection is not None:
            if not self._connection.closed:
                return self._connection
            self._lose(self._connection)
        began = self.clock.monotonic()
        connection = self._connect()
        try:
            with self.translated():
                _set_up(connection)
        except BaseException:
            connection.close()
            raise
        self._heard, self._connection = began, connection
        self.clock.start(lambda: self._keep(connection), name="eskit-lock", daemon=True)
        return connection

    def _ask(self, connection: Connection, name: str, key: int) -> bool:
        try:
            with self.translated():
                (answer,) = connection.execute(_statement(name), (key,)).fetchone() or (False,)
        except EskitError:
            self._lose(connection)
            raise
        return bool(answer)

    def _keep(self, connection: Connection) -> None:
        """Say something every so often, as long as that is answered; then close it."""
        while not self._closed.is_set():
            began = self.clock.monotonic()
            heard = _says(connection, self.clock)
            if self._connection is not connection:
                break
            if not heard:
                self._lose(connection)
                break
            self._heard = began
            self.clock.wait(self._closed, _BEAT)
        with connection.lock:  # whoever waits for an answer on it was woken
            connection.close()

    def _lose(self, connection: Connection) -> None:
        """Hold nothing any more that this connection had."""
        if self._connection is connection:
            self._connection = None
            _abandon(connection)


class SessionLock:
    """One lock of a session; see `eskit.processes.holding.Lock`."""

    def __init__(self, session: LockSession, name: str, key: int) -> None:
        self.name = name
        self.key = key
        self.taken_on: Connection | None = None
        self._session = session

    @property
    def connection(self) -> Connection:
        """The connection to write on what nobody else may write; StoreUnavailable if it is lost."""
        connection = self.taken_on
        if connection is None or not self.is_held():
            raise StoreUnavailable(
                f"The lock {self.name!r} was lost: the server has ended its session",
                hint="Wait: the process that holds it now continues the work.",
            )
        return connection

    def acquire(self, *, patience: float = 0.0) -> bool:
        """Ask the server until it is free, or the patience is over."""
        session = self._session
        deadline = session.clock.monotonic() + patience
        while not session.take(self):
            if session.clock.monotonic() >= deadline:
                return False
            session.clock.sleep(_LOOK_EVERY)
        backend = self.connection.info.backend_pid
        self._run("forget_others", (self.name, backend))
        return True

    def release(self) -> None:
        """Unlock; the connection stays."""
        self._session.let_go(self)

    def is_held(self) -> bool:
        """Whether the server has answered within the last seconds."""
        return self._session.holds(self)

    def write(self, note: str) -> None:
        """Write into the table of notes."""
        if self.is_held():
            backend = self.connection.info.backend_pid
            self._run("write_note", (self.name, backend, note))

    def find_note(self) -> str | None:
        """Ask who has the lock now, and for what that wrote."""
        found = self._run("find_note", {"lock": self.name, "key": self.key})
        return str(found[0][0]) if found else None

    def _run(self, name: str, parameters: Parameters) -> list[tuple[Any, ...]]:
        def work(connection: Connection) -> list[tuple[Any, ...]]:
            cursor = connection.execute(_statement(name), parameters)
            return cursor.fetchall() if cursor.description else []

        with self._session.translated():
            return self._session.pool.run(work)


def _set_up(connection: Connection) -> None:
    connection.check_session()
    limit = f"{SILENCE * 1000:.0f}"
    connection.execute(_statement("limit_silence"), {"limit": limit})
    if is_standby(connection):
        raise StoreUnavailable(
            "A standby has no locks that its primary knows of", hint="Name the primary in the URL."
        )


def _says(connection: Connection, clock: Clock) -> bool:
    """Say nothing to the server; whether it answers, or is busy with what others said.

    An empty query is allowed in a transaction that has failed, and begins none.
    """
    if not connection.lock.acquire(timeout=_BEAT):
        return True
    try:
        connected = connection.pgconn
        if connected.status != ConnStatus.OK:
            return False
        if (
            connected.transaction_status == TransactionStatus.ACTIVE  # a COPY
            or connected.pipeline_status != PipelineStatus.OFF
        ):
            return True
        connected.send_query(b"")
        deadline = clock.monotonic() + SILENCE
        with selectors.DefaultSelector() as selector:
            selector.register(connected.socket, selectors.EVENT_READ)
            while clock.monotonic() < deadline:
                connected.flush()
                if not connected.is_busy():
                    if connected.get_result() is None:
                        return connected.status == ConnStatus.OK
                elif selector.select(_BEAT):
                    connected.consume_input()
    except (psycopg.Error, OSError, ValueError):
        return False
    else:
        return False
    finally:
        connection.lock.release()


def _abandon(connection: Connection) -> None:
    """Close a connection, or wake the thread that waits for an answer on it."""
    if connection.lock.acquire(blocking=False):
        try:
            connection.close()
        finally:
            connection.lock.release()
        return
    with (
        contextlib.suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.pgconn.socket)) as end,
    ):
        end.shutdown(socket.SHUT_RDWR)


def _statement(name: str) -> LiteralString:
    return _statements()[name]


@cache
def _statements() -> Mapping[str, LiteralString]:
    return read_statements(_FOLDER / "lock.sql")
