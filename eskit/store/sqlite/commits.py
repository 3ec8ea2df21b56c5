"""The connection that writes: transactions of one caller's work or of many."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from eskit.errors import StoreError
from eskit.store.sqlite.connections import connect, wait_while_busy
from eskit.store.sqlite.errors import store_error
from eskit.store.sqlite.place import FilePlace
from eskit.store.sqlite.ticket import Ticket
from eskit.store.sqlite.tip import Tip
from eskit.store.sqlite.transaction import Transaction

_CHECK_WAL_EVERY = 50
# As SQLite has it by default. While the WAL still grows to this size a durable append costs half
# as much again: the file system then writes the new length of the file as well.
_WAL_LIMIT = 4 * 1024 * 1024


class Committer:
    """Runs batches of tickets, each batch in one transaction. Used by one thread at a time."""

    def __init__(
        self, path: Path, url: str, tip: Tip, *, synchronous: str, busy_timeout: float
    ) -> None:
        self._path = path
        self._url = url
        self._tip = tip
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._transaction: Transaction | None = None
        self._commits = 0
        self._place = FilePlace(path, url)

    def commit(self, batch: Sequence[Ticket]) -> None:
        """Finish every ticket of the batch.

        Only an interrupt is raised: then tickets that are not done have changed nothing.
        """
        if len(batch) == 1:
            self.commit_alone(batch[0])
        elif not self._commit_together(batch):
            for ticket in batch:
                self.commit_alone(ticket)

    def close(self) -> None:
        """Close the connection; idempotent."""
        if self._transaction is not None:
            self._tip.forget()
            self._transaction.close()
            self._transaction = None

    def commit_alone(self, ticket: Ticket) -> None:
        """Finish one ticket in a transaction of its own."""
        try:
            transaction = self._begin()
            try:
                result = ticket.work(transaction, again=ticket.again)
                transaction.finish()
            except BaseException:
                self._roll_back(transaction)
                raise
            committed = self._try_to_commit(transaction, last_try=ticket.again)
        except Exception as error:  # noqa: BLE001 - it is raised where the work came from
            ticket.finish(None, self._named(error))
            return
        if committed:
            ticket.finish(result)
        else:
            ticket.again = True
            self.commit_alone(ticket)

    def _try_to_commit(self, transaction: Transaction, *, last_try: bool) -> bool:
        """Commit; False when nobody can tell whether it was committed."""
        try:
            transaction.commit()
        except sqlite3.Error:
            self.close()
            if last_try:
                raise
            return False
        except BaseException:
            self._roll_back(transaction)
            raise
        return True

    def _commit_together(self, batch: Sequence[Ticket]) -> bool:
        """Run a batch in one transaction; False when each must run again alone."""
        try:
            transaction = self._begin()
        except (StoreError, sqlite3.Error) as error:
            for ticket in batch:
                ticket.finish(None, self._named(error))
            return True
        ran = False
        try:
            for ticket in batch:
                _run(transaction, ticket)
            transaction.finish()
            ran = True
            transaction.commit()
        except (sqlite3.Error, _MustRunAlone):
            self.close()
            for ticket in batch:
                ticket.again = True
            return False
        except BaseException:
            if not ran or transaction.is_open:
                self._roll_back(transaction)
            else:
                _finish(batch)
            raise
        _finish(batch)
        return True

    def _named(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error):
            return error
        named = store_error(error, self._url)
        named.__cause__ = error
        return named

    def _begin(self) -> Transaction:
        self._place.check()
        transaction = self._transaction or self._open()
        if transaction.is_open:  # left open by an interrupt between two statements
            self._roll_back(transaction)
        transaction.begin(self._url, self._busy_timeout)
        self._commits += 1
        if self._commits % _CHECK_WAL_EVERY == 0 and self._wal_size() > _WAL_LIMIT:
            self._checkpoint(transaction)
        self._tip.refresh(transaction.cursor)
        return transaction

    def _roll_back(self, transaction: Transaction) -> None:
        self._tip.forget()
        transaction.roll_back()

    def _open(self) -> Transaction:
        connection = connect(self._path, mode="rw")
        for pragma in (
            f"synchronous = {self._synchronous}",
            "wal_autocheckpoint = 0",
            # Begun anew, the WAL is cut to this size: it is larger only when it has grown since.
            f"journal_size_limit = {_WAL_LIMIT}",
        ):
            # The first use of a connection reads the file, which another process may be mending.
            wait_while_busy(
                partial(connection.execute, f"PRAGMA {pragma}"), self._url, self._busy_timeout
            )
        self._transaction = Transaction(connection, self._tip)
        return self._transaction

    def _wal_size(self) -> int:
        try:
            return Path(f"{self._path}-wal").stat().st_size
        except FileNotFoundError:
            return 0

    def _checkpoint(self, transaction: Transaction) -> None:
        """Move the WAL into the file while no other process can write, then begin again.

        SQLite's automatic checkpoint runs after the write lock is given up, which libraries
        before 3.51.3 can get wrong when another connection writes just then.
        """
        checkpointing = connect(self._path, mode="rw")
        try:
            checkpointing.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            checkpointing.close()
            transaction.roll_back()
        # A transaction begun after the checkpoint writes from the start of the WAL again.
        transaction.begin(self._url, self._busy_timeout)


def _run(transaction: Transaction, ticket: Ticket) -> None:
    """Run one ticket among others; raises when its error leaves changes behind.

    Work looks before it writes, so what raises an error has nearly always changed nothing. A
    savepoint for each would cost as much as a small append does.
    """
    before = transaction.changes
    try:
        ticket.result = ticket.work(transaction, again=ticket.again)
        ticket.error = None
        ticket.again = True  # an interrupt may hide that the commit went well
    except sqlite3.Error:
        raise
    except Exception as error:
        if transaction.changes != before:
            raise _MustRunAlone from error
        ticket.error = error


class _MustRunAlone(Exception):
    """A ticket changed something and then failed: the batch cannot be committed with it."""


def _finish(batch: Sequence[Ticket]) -> None:
    for ticket in batch:
        ticket.done = True
