"""The event store in one SQLite file."""

from __future__ import annotations

import itertools
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.commands import AppendResult
from eskit.errors import StoreUnavailable
from eskit.files.lock import LockFile
from eskit.files.modes import PRIVATE, mode_of
from eskit.processes.holding import Lock
from eskit.sqlite import forking
from eskit.sqlite.connections import (
    ReaderPool,
    begin_immediate,
    begin_reading,
    connect,
    roll_back,
)
from eskit.sqlite.errors import translated
from eskit.sqlite.interrupting import let_interrupt
from eskit.sqlite.leftovers import forget_files, note_files
from eskit.sqlite.place import FilePlace, find_status
from eskit.sqlite.watching import FileWatch
from eskit.store.appending import Append
from eskit.store.notifying import AppendNotifier
from eskit.store.port import About, Kept, Kind, Select, Shape, StreamKey
from eskit.store.recording import schemas_behind
from eskit.store.records import StreamInfo
from eskit.store.reports import BackupReport, ReportProgress
from eskit.store.sqlite import appender, kept
from eskit.store.sqlite.append_cache import AppendCache
from eskit.store.sqlite.backup import back_up
from eskit.store.sqlite.commits import Committer
from eskit.store.sqlite.erase import scrub
from eskit.store.sqlite.opening import open_file
from eskit.store.sqlite.queries import query
from eskit.store.sqlite.read import count_events, read_page
from eskit.store.sqlite.schema import current_version
from eskit.store.sqlite.transaction import Transaction
from eskit.store.sqlite.view import SqliteView
from eskit.store.writer import Writer

Result = TypeVar("Result")
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.002, 0.05
_LOOK_ANYWAY = 10


class SqliteStorage:
    """A Storage over one file in WAL mode.

    One connection writes, a pool of others reads. `synchronous` is FULL or NORMAL: with FULL an
    append is on disk when it returns, with NORMAL the last ones may be lost with the power.
    """

    def __init__(
        self,
        path: Path,
        url: str,
        *,
        create: bool = True,
        synchronous: str = "FULL",
        busy_timeout: float = 5.0,
        command_ttl: timedelta = timedelta(days=7),
        clock: Clock = SYSTEM_CLOCK,
        file_mode: int = PRIVATE,
    ) -> None:
        """Open the file, creating it if it is missing and `create` allows it.

        Raises StoreUnavailable, StoreNotRecognised, SchemaOutdated or SchemaTooNew.
        """
        name = path.absolute()
        # Beside the file itself SQLite puts its own, whatever links lead there.
        self._path = path = Path(os.path.realpath(name))
        self._url = url
        self._clock = clock
        self._synchronous = synchronous.lower()
        self._busy_timeout = busy_timeout
        self._command_ttl = command_ttl
        self._file_mode = file_mode
        self._process = os.getpid()
        self._closed = False
        with translated(url):
            opened = open_file(
                path, url, create=create, timeout=busy_timeout, file_mode=file_mode, clock=clock
            )
        self._store_id = opened.store_id
        self._read_mode = opened.read_mode
        self._place = FilePlace(name, url, clock)
        self._readers = ReaderPool(
            lambda: connect(path, mode=opened.read_mode),
            check=self._check_readable,
            made=self._place.opened,
        )
        self._notifier = AppendNotifier(clock)
        committer = Committer(
            path,
            url,
            self._place,
            AppendCache(),
            store_id=opened.store_id,
            synchronous=synchronous,
            busy_timeout=busy_timeout,
            committed=self._notifier.notify,
            clock=clock,
        )
        self._writer = Writer(committer, url, clock)

    def about(self) -> About:
        """URL, id, size and settings."""
        settings: dict[str, str | float] = {
            "synchronous": self._synchronous,
            "busy_timeout": self._busy_timeout,
        }
        return About(
            url=self._url,
            store_id=self._store_id,
            command_ttl=self._command_ttl,
            schema_version=current_version(),
            bytes=self._size("") + self._size("-wal"),
            settings=settings,
        )

    def append(self, append: Append) -> AppendResult:
        """Append in the next transaction, of this call or of many."""
        self._check_usable()
        result: AppendResult = self._writer.run(self._append, append, _find_appended)
        return result

    def submit(self, append: Append) -> Future[AppendResult]:
        """Append in the next transaction, and be told of its commit."""
        self._check_usable()
        return self._writer.submit(self._append, append, _find_appended)

    def _append(self, transaction: Transaction, append: Append) -> AppendResult:
        result = appender.append(transaction, append, now=self._clock.microseconds())
        if append.schemas and append.events and not result.already_processed:
            before = result.global_position - len(append.events)
            schemas = schemas_behind(append.schemas, before)
            kept.save_schemas(transaction.beside_events, schemas)
        return result

    def read(self, select: Select[Shape], size: int) -> list[Shape]:
        """A page by the query for the selection."""
        with translated(self._url), self._readers.borrow() as connection:
            return read_page(connection, select, size)

    def count(self, select: Select[Any]) -> int:
        """Count in an index."""
        return self._read(lambda connection: count_events(connection, select))

    def streams(
        self, after: StreamKey, *, prefix: str, tenant: str | None, size: int
    ) -> list[StreamInfo]:
        """The next streams in the order of their names."""
        bounds = *after, prefix, tenant, size
        rows = self._read(lambda reading: reading.execute(query("list_streams"), bounds).fetchall())
        return list(kept.make_rows(rows, self._url, StreamInfo))

    def find(self, kind: type[Kind], *key: str) -> list[Kind]:
        """The rows of a kind by the query for that much of its key."""
        return self._read(lambda reading: list(kept.find_rows(reading, self._url, kind, key)))

    def keep(
        self,
        put: Sequence[Kept] = (),
        drop: Sequence[Kept] = (),
        *,
        under: Lock | None = None,  # noqa: ARG002 - a lock on a file is not lost
    ) -> bool:
        """Change rows in the next transaction."""
        self._check_usable()
        try:
            done: bool = self._writer.run(kept.keep, (put, drop), kept.find_kept)
        except kept.Refused:
            return False
        return done

    def head(self, past: int = -1, timeout: float = 0.0) -> int:
        """The position of the last event, looked for when the file changes."""
        found = 0

        def is_past() -> bool:
            nonlocal found
            row = self._read(lambda reading: reading.execute(query("find_head")).fetchone())
            found = row[0] if row else 0
            return found > past

        if timeout <= 0:
            is_past()
        else:
            watch, looks = FileWatch(self._path, self._url), itertools.count(1)
            shortest = _LONGEST_PAUSE if watch.is_quiet else _SHORTEST_PAUSE
            self._notifier.wait_until(
                is_past,
                timeout,
                poll=(shortest, _LONGEST_PAUSE),
                # Now and then anyway: at whether the files are there.
                changed=lambda: watch.changed() or next(looks) % _LOOK_ANYWAY == 0,
            )
        return found

    def microseconds(self) -> int:
        """The time of the clock."""
        return self._clock.microseconds()

    def lock(self, name: str) -> LockFile:
        """A lock on a file beside the store; the same one, whatever links lead there."""
        return LockFile(
            self._path.with_name(f"{self._path.name}.{name}"),
            unavailable=StoreUnavailable,
            mode=mode_of(self._path),
            clock=self._clock,
        )

    @contextmanager
    def view(self, *, exclusive: bool = False) -> Iterator[SqliteView]:
        """One transaction on a connection of its own, as another process would have it."""
        self._check_readable(None)
        with self._write() if exclusive else self._view() as connection:
            yield SqliteView(connection, self._url, self._back_up)
        if exclusive:
            self._notifier.notify()

    def scrub(self) -> None:
        """Write the file anew, so that nothing is left in free space or in the WAL."""
        self._check_readable(None)
        with translated(self._url):
            scrub(self._path, self._url, timeout=self._busy_timeout, clock=self._clock)

    def close(self) -> None:
        """Finish what is being appended and let go of the file; idempotent."""
        if os.getpid() != self._process:
            return
        self._closed = True  # and go on if it was: the last time may have been interrupted
        self._readers.close()
        self._writer.close()
        forget_files(self._path)
        self._notifier.notify()

    def _back_up(self, target: Path, progress: ReportProgress) -> BackupReport:
        return back_up(
            self._path,
            target,
            url=self._url,
            origin=self._store_id,
            mode=self._read_mode,
            file_mode=self._file_mode,
            progress=progress,
        )

    @contextmanager
    def _view(self) -> Iterator[sqlite3.Connection]:
        with (
            translated(self._url),
            closing(connect(self._path, mode=self._read_mode)) as connection,
        ):
            let_interrupt(connection)
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout * 1000)}")
            begin_reading(connection)
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with translated(self._url), closing(connect(self._path, mode="rw")) as connection:
            let_interrupt(connection)
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            begin_immediate(connection, self._url, self._busy_timeout, self._clock)
            note_files(self._path, self._store_id)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                roll_back(connection)

    def _size(self, suffix: str) -> int:
        found = find_status(Path(f"{self._path}{suffix}"), self._url)
        return 0 if found is None else found.st_size

    def _read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with translated(self._url), self._readers.borrow() as connection:
            return work(connection)

    def _check_readable(self, connection: sqlite3.Connection | None) -> None:
        """Refuse the next page of a store that was closed, or whose files are others."""
        self._check_usable()
        self._place.check(connection)

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._url} is closed", hint="Open the store again.")
        if os.getpid() != self._process:
            raise StoreUnavailable(
                f"{self._url} was opened before this process was forked",
                hint=forking.HINT,
            )


def _find_appended(transaction: Transaction, append: Append) -> AppendResult | None:
    """The result of an append whose commit gave no answer, if it was committed."""
    return appender.find_stored(transaction.cursor, append)
