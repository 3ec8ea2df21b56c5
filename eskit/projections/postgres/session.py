"""Write transactions on one connection, and PostgreSQL's errors as those of a read model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from psycopg import pq

from eskit.errors import ReadModelUnavailable, StoreUnavailable
from eskit.postgres.connection import Connection, connect
from eskit.postgres.errors import store_error
from eskit.postgres.url import PostgresUrl
from eskit.projections.postgres.database import PostgresDatabase
from eskit.projections.postgres.statements import Statements

# Whoever waits for another process longer has met one that hangs.
_SETTINGS = {"lock_timeout": "30s", "synchronous_commit": "off"}
# By the beginning of the SQLSTATE: connection, resources, operator and system; read-only, silent
# for too long, conflicts, locked, damaged.
_NOT_TO_BLAME_ON_HANDLERS = ("08", "53", "57", "58", "25006", "25P03", "25P04", "40", "55P03", "XX")
_DAMAGED = ("XX001", "XX002")
_NOT_WHOLE = ("3F", "42")
NOTHING_THERE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName)
"""What is raised where no read model was made yet."""


def connect_to_rows(url: PostgresUrl) -> Connection:
    """A connection whose commits need not reach the disk at once: the log has all events."""
    try:
        connection = connect(url, name="eskit read models")
    except StoreUnavailable as error:
        raise ReadModelUnavailable(error.message, hint=error.hint) from error
    connection.check_session()
    connection.prepare_threshold = None  # tables are exchanged under prepared statements
    with translated(url.shown):
        for name, value in _SETTINGS.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    return connection


def is_transient(error: BaseException) -> bool:
    """Whether an error is the condition of server or connection rather than a wrong statement."""
    if isinstance(error, ReadModelUnavailable):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:  # also a lost connection; else an error in the use of psycopg
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate.startswith(_NOT_TO_BLAME_ON_HANDLERS)


def unavailable(error: psycopg.Error, url: str) -> ReadModelUnavailable:
    """What to say when the read models at `url` cannot be used."""
    if error.sqlstate in _DAMAGED:
        return ReadModelUnavailable(
            f"The read models at {url} are damaged: {error}",
            code="READ_MODEL_DAMAGED",
            hint="Drop their schema and start again: the rows are made from the log.",
        )
    if (error.sqlstate or "").startswith(_NOT_WHOLE):
        return ReadModelUnavailable(
            f"The read models at {url} cannot be used: {error.diag.message_primary}",
            hint="Check the schema and the rights in it. Rows can be made from the log again.",
        )
    told = store_error(error, url)
    return ReadModelUnavailable(told.message, hint=told.hint)


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Raise PostgreSQL's errors as ReadModelUnavailable."""
    try:
        yield
    except psycopg.Error as error:
        raise unavailable(error, url) from error


class Transactions:
    """Transactions of one connection, which end where `run` says and nowhere else.

    `begun` is called at the beginning of an outermost one, and `ending` before it is committed.
    """

    def __init__(
        self,
        connection: Connection,
        url: str,
        *,
        begin: str = "BEGIN",
        begun: Callable[[], None] = lambda: None,
        ending: Callable[[], None] = lambda: None,
        prepare: bool = True,
    ) -> None:
        self.statements = Statements(connection, prepare=prepare)
        self.db = PostgresDatabase(self.statements, self.run)
        self._connection = connection
        self._url = url
        self._begin = begin
        self._begun = begun
        self._ending = ending
        self._depth = 0
        self._locked: frozenset[str] = frozenset()

    @contextmanager
    def run(self) -> Iterator[None]:
        """Begin, run the block, commit; roll back and raise when the block does.

        Inside another it is a savepoint.
        """
        if self._depth:
            with self._savepoint():
                yield
            return
        self._depth = 1
        try:
            self.statements.forgive()
            self.statements.add(self._begin)
            self._begun()
            yield
            self._ending()
            self._commit()
        except BaseException:
            self._undo("ROLLBACK")
            raise
        finally:
            self._depth = 0
            self._locked = frozenset()

    @property
    def is_open(self) -> bool:
        """Whether one was begun."""
        return self._depth > 0

    def lock(self, name: str) -> bool:
        """Keep others from what is locked by this name until the transaction ends.

        False if it is locked already, or outside of a transaction.
        """
        if not self._depth or name in self._locked:
            return False
        self.statements.add("SELECT pg_advisory_xact_lock(%s)", (_key(name),))
        self._locked |= {name}
        return True

    def flush(self) -> None:
        """Run what was put off; ReadModelUnavailable where that is not the statements' fault."""
        try:
            self.statements.flush()
        except psycopg.Error as error:
            if is_transient(error):
                raise unavailable(error, self._url) from error
            raise

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        name, locked = f"eskit_{self._depth}", self._locked
        self.statements.add(f"SAVEPOINT {name}")
        self.flush()  # what was put off before is not to be undone with it
        self._depth += 1
        try:
            yield
            self.statements.add(f"RELEASE {name}")
            self.flush()
        except BaseException:
            self._undo(f"ROLLBACK TO {name}; RELEASE {name}")
            self._locked = locked
            raise
        finally:
            self._depth -= 1

    def _commit(self) -> None:
        committed = self.statements.add("COMMIT")
        self.flush()
        # COMMIT of a transaction in which a statement failed undoes it and raises nothing.
        if committed.result is None or committed.result.command_status != b"COMMIT":
            raise ReadModelUnavailable(
                f"PostgreSQL undid the transaction on {self._url}; no changes were saved",
                hint="Try again.",
            )

    def _undo(self, sql: str) -> None:
        """Undo what was sent; a connection on which that fails is closed, to the same end."""
        self.statements.discard()
        connection = self._connection
        idle = pq.TransactionStatus.IDLE
        if connection.closed or connection.info.transaction_status == idle:
            return
        try:
            connection.execute(sql.encode())
        except BaseException as error:
            connection.close()
            if not isinstance(error, psycopg.Error):
                raise


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
