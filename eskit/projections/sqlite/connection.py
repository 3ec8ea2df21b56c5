"""A connection to a read-model file, its write lock, and SQLite's errors in eskit's words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from eskit.clock import Clock
from eskit.errors import ReadModelUnavailable
from eskit.files.lock import FileLock, take_file_lock
from eskit.files.modes import PRIVATE, make_if_missing
from eskit.sqlite import forking
from eskit.sqlite.errors import primary_code
from eskit.sqlite.identity import DatabaseFiles
from eskit.sqlite.interrupting import InterruptibleConnection
from eskit.sqlite.leftovers import find_foreign_wal, note_files
from eskit.sqlite.url import file_uri
from eskit.sqlite.usage import lost_companion

_WRITE_LOCK_TIMEOUT = 30.0
_LONGEST_PATIENCE = 1.0
# A write-ahead log that has grown by this is moved into the database after a commit.
_LONG_LOG = 4 * 1024 * 1024

_NOT_TO_BLAME_ON_HANDLERS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_NOTHING_CAN_BE_WRITTEN = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
_ENDS_OR_WIDENS_A_TRANSACTION = {
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
}


class LoneReader(InterruptibleConnection):
    """Reads a file that nobody has open, and would not notice if that changed: not for long."""


def connect(path: Path, *, mode: str, file_mode: int = PRIVATE) -> sqlite3.Connection:
    """A connection for one thread at a time; `mode` is SQLite's: ro, rw or rwc.

    A new file is made with `file_mode`, and so is what SQLite keeps beside it. In WAL mode even a
    reader writes beside the file; where it cannot, ro gives a LoneReader. Raises
    ReadModelUnavailable, also for a file that was open when this process was forked.
    """
    check_not_forked(path)
    _check_beside(path)
    if mode == "rwc":
        with suppress(OSError):  # told by SQLite
            make_if_missing(Path(os.path.realpath(path)), mode=file_mode)
    with translated(path):
        connection = _open(path, mode, InterruptibleConnection)
        try:
            if mode != "ro":
                _prepare_for_writing(connection)
            elif _cannot_write_beside(connection, path):
                connection.close()
                connection = _open(path, "ro&immutable=1", LoneReader)
        except BaseException:
            connection.close()
            raise
    return connection


def check_not_forked(path: Path) -> None:
    """Refuse a file that was open when this process was forked, and connections from then."""
    forking.refuse_inherited(path, f"Read model {path}", ReadModelUnavailable)


def _check_beside(path: Path) -> None:
    """Refuse the last rows of another file, and files that other processes still use."""
    real = Path(os.path.realpath(path))
    wal = find_foreign_wal(real)
    if wal is not None:
        raise ReadModelUnavailable(
            f"Read model {path} replaced another file, whose last rows are in {wal.name}",
            hint=f"Continue without them: rm {wal} {real}-shm. eskit rebuilds the missing rows "
            "from the log.",
        )
    lost = lost_companion(real, patience=_LONGEST_PATIENCE) if real.exists() else None
    if lost is not None:
        raise ReadModelUnavailable(
            f"Read model {path} is open, and {lost.name} was deleted meanwhile",
            hint="Stop the process that has it open, then try again.",
        )


def _open(path: Path, mode: str, factory: type[sqlite3.Connection]) -> sqlite3.Connection:
    return sqlite3.connect(
        file_uri(path, mode=mode),
        uri=True,
        timeout=5.0,
        check_same_thread=False,
        factory=factory,
    )


def _cannot_write_beside(connection: sqlite3.Connection, path: Path) -> bool:
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        if primary_code(error) in _NOTHING_CAN_BE_WRITTEN:
            return path.exists() and not _log_of(path).exists()
        raise
    return False


def _log_of(path: Path) -> Path:
    """The write-ahead log, which lies beside the file itself, whatever links lead there."""
    return Path(f"{os.path.realpath(path)}-wal")


def _prepare_for_writing(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    # Rows and checkpoint stay together whatever is lost, and the log has all events.
    connection.execute("PRAGMA synchronous=NORMAL")
    # Checkpoints are taken under the write lock instead: SQLite before 3.51.3 can lose the log
    # when one connection checkpoints while another writes.
    connection.execute("PRAGMA wal_autocheckpoint=0")
    # Without a limit the log keeps its length, and looks long for ever.
    connection.execute("PRAGMA journal_size_limit=0")


def translated(path: Path) -> AbstractContextManager[None]:
    """Turn what SQLite raises into ReadModelUnavailable."""
    return _Translated(path)


class _Translated(AbstractContextManager[None]):
    """Around every statement of eskit's: as a generator it would take five times as long."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise unavailable(self._path, error) from error


def unavailable(path: Path, error: sqlite3.Error) -> ReadModelUnavailable:
    """What to say when the file cannot be used."""
    code = primary_code(error)
    if code in _DAMAGED:
        return ReadModelUnavailable(
            f"Read model {path} is damaged or not a SQLite file: {error}",
            code="READ_MODEL_DAMAGED",
            hint="Move it away and start again: the rows are made from the log.",
        )
    if code == sqlite3.SQLITE_READONLY:
        return ReadModelUnavailable(
            f"Read model {path} may not be written to",
            hint="Check the permissions of the file and its folder. Reading works without.",
        )
    return ReadModelUnavailable(
        f"Read model {path} cannot be used: {error}",
        hint="Check that it is a SQLite file that may be written to, and the space on its disk.",
    )


def is_transient(error: BaseException) -> bool:
    """Whether an error is the condition of disk, file or memory rather than a wrong statement."""
    return isinstance(error, sqlite3.Error) and primary_code(error) in _NOT_TO_BLAME_ON_HANDLERS


class WriteLock:
    """Who may write to a read-model file: one connection of all processes, in fair turns.

    SQLite's own busy handler sleeps ever longer, so that under load some never get their turn.
    """

    def __init__(
        self,
        path: Path,
        *,
        stop: threading.Event | None = None,
        clock: Clock,
        mode: int = PRIVATE,
    ) -> None:
        self.clock = clock
        self._lock = FileLock(path, mode=mode, clock=clock)
        self._mode = mode
        self._stop = stop or threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock around a block; ReadModelUnavailable after 30 s of waiting.

        So it is when the wait is given up because of `stop`.
        """
        began = self.clock.monotonic()
        if not take_file_lock(
            self._lock,
            mode=self._mode,
            patience=_WRITE_LOCK_TIMEOUT,
            unavailable=ReadModelUnavailable,
            stop=self._stop.is_set,
        ):
            raise ReadModelUnavailable(
                f"Another process has locked the read model for "
                f"{self.clock.monotonic() - began:.1f} s ({self._lock.path})",
                hint="Stop that process or wait for it, then retry.",
            )
        try:
            yield
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of the lock file."""
        self._lock.close()


class Transactions:
    """Write transactions of one connection that nothing inside them can end.

    The engine's own BEGIN and COMMIT carry a comment: sqlite3 caches statements by their text,
    and a cached one would pass the authorizer unseen.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, lock: WriteLock) -> None:
        self._connection = connection
        self._path = path
        self._log = _log_of(path)
        self._lock = lock
        self._guarded = False
        self._long = _LONG_LOG
        self._files = DatabaseFiles(path)
        self._files.opened()
        self._noted = False
        connection.set_authorizer(self._authorize)

    @contextmanager
    def write(self) -> Iterator[None]:
        """Begin, run the block, commit; roll back and raise when the block does.

        Inside another it is a savepoint.
        """
        check_not_forked(self._path)
        if self._guarded:
            with self._savepoint():
                yield
            return
        with self._lock.held():
            self._check_in_place()
            self._begin()
            try:
                self._guarded = True
                try:
                    yield
                finally:
                    self._guarded = False
                self._commit()
            except BaseException:
                self.roll_back()
                raise
            self._checkpoint_long_log()

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        with translated(self._path):
            self._connection.execute("SAVEPOINT eskit_nested")
        try:
            yield
            self._release()
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO eskit_nested")
                self._connection.execute("RELEASE eskit_nested")
            raise

    def roll_back(self) -> None:
        """Undo the open transaction, if there still is one."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK /* eskit */")

    def _begin(self) -> None:
        with translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE /* eskit */")
        if not self._noted:
            note_files(Path(os.path.realpath(self._path)))
            self._noted = True

    def _check_in_place(self) -> None:
        """Refuse to write into a file that lost its name: nobody would ever read it."""
        lost = self._files.find_lost()
        if lost is not None:
            what = "" if lost == self._path else f": {lost.name}"
            raise ReadModelUnavailable(
                f"Read model {self._path} was deleted or replaced while it was open{what}",
                hint="Start again: eskit rebuilds the missing rows from the log.",
            )

    def _commit(self) -> None:
        self._check_still_open()
        with translated(self._path):
            self._connection.execute("COMMIT /* eskit */")

    def _release(self) -> None:
        self._check_still_open()
        with translated(self._path):
            self._connection.execute("RELEASE eskit_nested")

    def _check_still_open(self) -> None:
        if not self._connection.in_transaction:
            raise ReadModelUnavailable(
                f"A statement rolled back the transaction on {self._path}; no changes were saved",
                hint="Do not catch errors of ON CONFLICT ROLLBACK or RAISE(ROLLBACK) in handlers.",
            )

    def _checkpoint_long_log(self) -> None:
        try:
            size = self._log.stat().st_size
        except FileNotFoundError:
            return
        if size > self._long:
            with translated(self._path):
                _, frames, moved = self._connection.execute(
                    "PRAGMA main.wal_checkpoint(PASSIVE)"
                ).fetchone()
            # While a reader needs the old rows the log grows: try again later.
            self._long = _LONG_LOG if frames == moved else size + _LONG_LOG

    def _authorize(self, action: int, *_: str | None) -> int:
        if self._guarded and action in _ENDS_OR_WIDENS_A_TRANSACTION:
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK
