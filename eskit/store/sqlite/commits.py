"""The connection that writes: transactions of one write or of many."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eskit.clock import Clock
from eskit.sqlite.connections import connect, wait_while_busy
from eskit.sqlite.errors import store_error
from eskit.sqlite.leftovers import note_files
from eskit.sqlite.place import FilePlace, find_status
from eskit.store.sqlite.append_cache import AppendCache
from eskit.store.sqlite.transaction import Transaction
from eskit.store.write import Write

_CHECK_WAL_EVERY = 50
# As SQLite has it by default. While the WAL still grows to this size a durable append costs half
# as much again: the file system then writes the new length of the file as well.
_WAL_LIMIT = 4 * 1024 * 1024


class Committer:
    """Runs batches of writes, each batch in one transaction. Used by one thread at a time."""

    def __init__(
        self,
        path: Path,
        url: str,
        place: FilePlace,
        tip: AppendCache,
        *,
        store_id: str,
        synchronous: str,
        busy_timeout: float,
        committed: Callable[[], None],
        clock: Clock,
    ) -> None:
        """`committed` is called after every commit, before anybody is told of it."""
        self._path = path
        self._url = url
        self._place = place
        self._tip = tip
        self._store_id = store_id
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._committed = committed
        self._clock = clock
        self._transaction: Transaction | None = None
        self._commits = 0

    def commit(self, batch: list[Write], newcomers: Callable[[], Iterable[Write]] = tuple) -> None:
        """Finish every write of the batch, to which newcomers are added once it has begun.

        Only an interrupt is raised, with nothing left open: then a batch of one may be committed.
        """
        try:
            self._commit(batch, newcomers)
        except BaseException:
            self._roll_back()
            raise

    def close(self) -> None:
        """Close the connection; idempotent."""
        if self._transaction is not None:
            self._tip.forget()
            self._transaction.close()
            self._transaction = None
            self._place.closed()

    def _commit(self, batch: list[Write], newcomers: Callable[[], Iterable[Write]]) -> None:
        transaction = self._begin_for(batch)
        if transaction is None:
            return
        # SQLite gives up the interpreter while it begins, and others use that to queue up. Left
        # to the next commit they would wait twice as long, and every second commit be of one.
        batch.extend(newcomers())
        if len(batch) == 1:
            self._finish_alone(transaction, batch[0])
        elif not self._finish_together(transaction, batch):
            for write in batch:
                self._commit_alone(write)

    def _commit_alone(self, write: Write) -> None:
        """Finish one write in a transaction of its own."""
        transaction = self._begin_for([write])
        if transaction is not None:
            self._finish_alone(transaction, write)

    def _finish_alone(self, transaction: Transaction, write: Write) -> None:
        """Finish one write in the open transaction."""
        try:
            try:
                result = write.run(transaction)
                transaction.finish()
            except Exception:
                self._roll_back()
                raise
            committed = self._try_to_commit(transaction, last_try=write.unresolved)
        except Exception as error:  # noqa: BLE001 - it is raised where the work came from
            write.fail(self._named(error))
            return
        if committed:
            write.succeed(result)
            self._committed()
        else:
            write.unresolved = True
            self._commit_alone(write)

    def _try_to_commit(self, transaction: Transaction, *, last_try: bool) -> bool:
        """Commit; False when nobody can tell whether it was committed."""
        try:
            transaction.commit()
        except (sqlite3.Error, MemoryError):
            self.close()
            if last_try:
                raise
            return False
        return True

    def _finish_together(self, transaction: Transaction, batch: Sequence[Write]) -> bool:
        """Finish a batch in the open transaction; False when each must run again alone."""
        try:
            outcomes = [_run(transaction, write) for write in batch]
            transaction.finish()
            transaction.commit()
        except (sqlite3.Error, MemoryError, _MustRunAlone):
            self.close()
            for write in batch:
                write.unresolved = True
            return False
        for write, (result, error) in zip(batch, outcomes, strict=True):
            if error is None:
                write.succeed(result)
            else:
                write.fail(error)
        self._committed()
        return True

    def _named(self, error: Exception) -> Exception:
        if not isinstance(error, sqlite3.Error | MemoryError):
            return error
        named = store_error(error, self._url)
        named.__cause__ = error
        return named

    def _begin_for(self, batch: Sequence[Write]) -> Transaction | None:
        """Begin; None if that fails, which finishes the writes."""
        try:
            return self._begin()
        except Exception as error:  # noqa: BLE001 - it is raised where the work came from
            self._roll_back()
            for write in batch:
                write.fail(self._named(error))
            return None

    def _begin(self) -> Transaction:
        used = self._transaction
        self._place.check(None if used is None else used.connection)
        transaction = used or self._open()
        if transaction.is_open:  # left so by an interrupt that came during another
            self._roll_back()
        transaction.begin(self._url, self._busy_timeout, self._clock)
        if used is None:
            note_files(self._path, self._store_id)
        self._commits += 1
        if self._commits % _CHECK_WAL_EVERY == 0 and self._wal_size() > _WAL_LIMIT:
            self._checkpoint(transaction)
        self._tip.refresh(transaction.cursor)
        return transaction

    def _roll_back(self) -> None:
        """End the transaction without its changes, if one is open."""
        self._tip.forget()
        try:
            if self._transaction is not None:
                self._transaction.roll_back()
        except sqlite3.Error:
            self.close()

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
                partial(connection.execute, f"PRAGMA {pragma}"),
                self._url,
                self._busy_timeout,
                self._clock,
            )
        self._transaction = Transaction(connection, self._tip)
        self._place.opened()
        return self._transaction

    def _wal_size(self) -> int:
        found = find_status(Path(f"{self._path}-wal"), self._url)
        return 0 if found is None else found.st_size

    def _checkpoint(self, transaction: Transaction) -> None:
        """Move the WAL into the file while no other process can write, then begin again.

        SQLite's automatic checkpoint runs after the write lock is given up, which libraries
        before 3.51.3 can get wrong when another connection writes just then.
        """
        self._place.check(None)
        checkpointing = connect(self._path, mode="rw")
        try:
            checkpointing.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            checkpointing.close()
            transaction.roll_back()
        # A transaction begun after the checkpoint writes from the start of the WAL again.
        transaction.begin(self._url, self._busy_timeout, self._clock)


def _run(transaction: Transaction, write: Write) -> tuple[Any, Exception | None]:
    """Run one write among others; raises when its error leaves changes behind.

    Work looks before it writes, so what raises an error has nearly always changed nothing. A
    savepoint for each would cost as much as a small append does.
    """
    before = transaction.changes
    try:
        return write.run(transaction), None
    except (sqlite3.Error, MemoryError):
        raise
    except Exception as error:
        if transaction.changes != before:
            raise _MustRunAlone from error
        return None, error


class _MustRunAlone(Exception):
    """A write changed something and then failed: the batch cannot be committed with it."""
