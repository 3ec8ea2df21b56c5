"""A few connections for reading, opened when they are needed and kept for the next one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg

from eskit.postgres.connection import Connection
from eskit.postgres.errors import is_lost

Result = TypeVar("Result")


class Pool:
    """At most `size` connections at once; who comes when all are in use waits. Thread-safe."""

    def __init__(self, connect: Callable[[], Connection], size: int) -> None:
        self._connect = connect
        self._idle: list[Connection] = []
        self._places = threading.BoundedSemaphore(size)
        self._closed = False

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Do work that may be done twice: it is, where a connection was lost since its last use."""
        with self.borrow() as connection:
            try:
                with connection.in_schema():
                    return work(connection)
            except psycopg.Error as error:
                if not is_lost(error, connection):
                    raise
        with self.borrow(fresh=True) as connection, connection.in_schema():
            return work(connection)

    @contextmanager
    def borrow(self, *, fresh: bool = False) -> Iterator[Connection]:
        """A connection for the block; it comes back unless it was lost."""
        with self._places:
            connection = self._take(fresh=fresh)
            try:
                yield connection
            finally:
                self._give_back(connection)

    def close(self) -> None:
        """Close what is idle, and the rest when it comes back; idempotent."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _take(self, *, fresh: bool) -> Connection:
        while self._idle and not fresh:
            connection = self._idle.pop()
            if not connection.closed:
                return connection
        return self._connect()

    def _give_back(self, connection: Connection) -> None:
        idle = connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        if idle and not self._closed:
            self._idle.append(connection)
        else:
            connection.close()
