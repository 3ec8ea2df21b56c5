"""The event store in memory: for tests, and for trying things out."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, Self
from uuid import uuid4

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.commands import AppendResult
from eskit.domain.events import EventRow, is_erased
from eskit.errors import StoreUnavailable, StreamNotFound, Unsupported
from eskit.processes.holding import LocalLock, Lock
from eskit.schema.recorded import EventSchema
from eskit.store.appending import Append, completed, decide
from eskit.store.notifying import AppendNotifier
from eskit.store.port import About, Check, Kept, Kind, Problem, Select, Shape, Stored, StreamKey
from eskit.store.recording import is_news
from eskit.store.records import (
    KEYS,
    ClaimRow,
    CommandRow,
    Erasure,
    EventType,
    Record,
    Snapshot,
    StreamInfo,
)
from eskit.store.reports import BackupReport, MigrationReport, ReportProgress, RestoreReport
from eskit.store.rows import add, check, keep, stream_info, wants

Rows = dict[tuple[Any, ...], Any]


@dataclass(slots=True)
class MemoryLog:
    """Everything in a memory store, apart from it: several share one by name. `lock` guards all."""

    store_id: str = field(default_factory=lambda: str(uuid4()))
    lock: threading.RLock = field(default_factory=threading.RLock)
    notifier: AppendNotifier = field(default_factory=AppendNotifier)
    rows: list[EventRow] = field(default_factory=list)
    streams: dict[StreamKey, list[EventRow]] = field(default_factory=dict)
    ids: dict[bytes, int] = field(default_factory=dict)
    """The positions of events by their ids."""
    kept: dict[type, Rows] = field(default_factory=lambda: defaultdict(dict))
    """By kind and key; see `KEYS`."""
    locks: dict[str, tuple[LocalLock, str]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def copy(self) -> MemoryLog:
        """The same contents in containers of their own."""
        streams = {key: list(rows) for key, rows in self.streams.items()}
        kept = defaultdict(dict, {kind: dict(rows) for kind, rows in self.kept.items()})
        return replace(self, rows=list(self.rows), streams=streams, ids=dict(self.ids), kept=kept)

    def restore(self, copy: MemoryLog) -> None:
        """Go back to a copy."""
        self.rows, self.streams, self.ids, self.kept = (
            *(copy.rows, copy.streams, copy.ids),
            copy.kept,
        )
        self.store_id = copy.store_id

    def head(self) -> int:
        """The position of the last event; 0 for an empty log."""
        return self.rows[-1].global_position if self.rows else 0

    def put(self, row: Any) -> None:
        """Put a row of any kind, in the place of that with its key."""
        if isinstance(row, EventRow):
            self.rows.append(row)
            self.ids[row.event_id] = row.global_position
            self.streams.setdefault((row.stream, row.tenant), []).append(row)
        elif not isinstance(row, EventSchema) or is_news(row, self.find(EventSchema)):
            self.kept[type(row)][KEYS[type(row)](row)] = row

    def drop(self, row: Any) -> None:
        """Drop the row with the key of this one."""
        self.kept[type(row)].pop(KEYS[type(row)](row), None)

    def find(self, kind: type[Kind], *key: str) -> list[Kind]:
        """The rows of a kind whose keys begin with `key`, sorted."""
        if kind is StreamInfo:
            return [stream_info(rows) for rows in self._streams(key)]
        if kind is EventType:
            return [EventType(name) for name in sorted({row.event_type for row in self.rows})]
        rows = self.kept[kind]
        if key in rows:
            return [rows[key]]
        return [rows[found] for found in sorted(rows) if found[: len(key)] == key]

    def _streams(self, key: tuple[str, ...]) -> Iterable[list[EventRow]]:
        return (self.streams[found] for found in sorted(self.streams) if found[: len(key)] == key)

    def find_command(self, tenant: str, command_id: str) -> CommandRow | None:
        """The record of a command."""
        return self.kept[CommandRow].get((tenant, command_id))

    def find_owner(self, tenant: str, index: str, value: str) -> str | None:
        """The stream that holds a value."""
        found = self.kept[ClaimRow].get((tenant, index, value))
        return found.stream if found else None

    def find_by_id(self, event_id: bytes) -> EventRow | None:
        """The event that has an id."""
        position = self.ids.get(event_id)
        return None if position is None else self.rows[self.index(position)]

    def index(self, position: int) -> int:
        """Where the first event from a position on is."""
        return bisect_left(self.rows, position, key=_position)

    def of(self, stream: str, tenant: str) -> list[EventRow]:
        """The events of a stream."""
        return self.streams.get((stream, tenant), [])

    def last_of(self, stream: str, tenant: str) -> EventRow | None:
        """The last event of a stream."""
        rows = self.streams.get((stream, tenant))
        return rows[-1] if rows else None

    def last(self) -> EventRow | None:
        """The last event of the log."""
        return self.rows[-1] if self.rows else None


class MemoryStorage:
    """A Storage that is gone when the process ends."""

    def __init__(
        self,
        url: str = "memory://",
        *,
        log: MemoryLog | None = None,
        command_ttl: timedelta = timedelta(days=7),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Open a storage over `log`, by default over a new one."""
        self._url = url
        self._log = log or MemoryLog(notifier=AppendNotifier(clock))
        self._command_ttl = command_ttl
        self._clock = clock
        self._closed = False

    def about(self) -> About:
        """A memory store has no files and no schema."""
        return About(url=self._url, store_id=self._log.store_id, command_ttl=self._command_ttl)

    def append(self, append: Append) -> AppendResult:
        """Decide and put what it comes to."""
        with self._open() as log:
            changes = decide(append, log, self._clock.microseconds())
            for row in (*changes.events, *changes.claims, *changes.commands, *changes.schemas):
                log.put(row)
            for claim in changes.freed:
                log.drop(claim)
        log.notifier.notify()
        return changes.result

    def submit(self, append: Append) -> Future[AppendResult]:
        """Append at once: there is no commit that takes long."""
        with self._open():
            return completed(self.append, append)

    def read(self, select: Select[Shape], size: int) -> list[Shape]:
        """A slice of the stream or of the log."""
        shape, (after, before) = select.shape.of, (select.after, select.before)
        with self._open() as log:
            if select.stream:
                rows, key = log.streams.get((select.stream, select.tenant), []), _version
            else:
                rows, key = log.rows, _position
            first = bisect_right(rows, after, key=key)
            last = max(bisect_left(rows, before, key=key), first)
            indices = range(last - 1, first - 1, -1) if select.backward else range(first, last)
            wanted = (rows[index] for index in indices if wants(select, rows[index]))
            return [shape(row) for row in islice(wanted, size)]

    def count(self, select: Select[Any]) -> int:
        """Count them one by one."""
        return len(self.read(select._replace(shape=EventRow), select.before))

    def streams(
        self, after: StreamKey, *, prefix: str, tenant: str | None, size: int
    ) -> list[StreamInfo]:
        """The next streams in the order of their names."""
        with self._open() as log:
            found = sorted(
                key
                for key in log.streams
                if key > after and key[0].startswith(prefix) and tenant in {None, key[1]}
            )
            return [stream_info(log.streams[key]) for key in found[:size]]

    def find(self, kind: type[Kind], *key: str) -> list[Kind]:
        """The rows of a kind whose keys begin with `key`."""
        with self._open() as log:
            return log.find(kind, *key)

    def keep(
        self,
        put: Sequence[Kept] = (),
        drop: Sequence[Kept] = (),
        *,
        under: Lock | None = None,  # noqa: ARG002 - it cannot be lost
    ) -> bool:
        """Look at every row, then put and drop them."""
        with self._open() as log:
            return keep(log, put, drop)

    def head(self, past: int = -1, timeout: float = 0.0) -> int:
        """The position of the last event."""
        self._log.notifier.wait_until(lambda: self._head() > past, timeout)
        return self._head()

    def _head(self) -> int:
        with self._open() as log:
            return log.head()

    def microseconds(self) -> int:
        """The time of the clock."""
        return self._clock.microseconds()

    def lock(self, name: str) -> LocalLock:
        """A lock of the log, among all stores of its name."""
        return LocalLock(self._log.locks, name)

    @contextmanager
    def view(self, *, exclusive: bool = False) -> Iterator[MemoryView]:
        """A copy, or the log itself with its lock held."""
        with self._open() as log:
            before = log.copy()
            if exclusive:
                try:
                    yield MemoryView(log, self._url)
                except BaseException:
                    log.restore(before)
                    raise
        if exclusive:
            log.notifier.notify()
        else:
            yield MemoryView(before, self._url)

    def scrub(self) -> None:
        """Nothing to do: memory has no free space that outlives the process."""

    def close(self) -> None:
        """Refuse further use. A named log stays for the next store of its name."""
        self._closed = True
        self._log.notifier.notify()

    def _open(self) -> MemoryLog:
        """The log, to be locked by `with`."""
        if self._closed:
            raise StoreUnavailable(f"{self._url} is closed", hint="Open the store again.")
        return self._log


class MemoryView:
    """A View of a log that nobody else changes: a copy, or one whose lock is held."""

    def __init__(self, log: MemoryLog, url: str) -> None:
        self._log = log
        self._url = url

    def head(self) -> int:
        """The position of the last event."""
        return self._log.head()

    def count(self, kind: type[Any]) -> int:
        """How many rows of a kind there are."""
        log = self._log
        return len({EventRow: log.rows, StreamInfo: log.streams}.get(kind, log.kept[kind]))

    def events(self, *, after: int = 0, streams: Sequence[StreamKey] = ()) -> Iterator[EventRow]:
        """The log in order of positions."""
        rows = islice(self._log.rows, self._log.index(after + 1), None)
        return (row for row in rows if not streams or (row.stream, row.tenant) in streams)

    def rows(self, kind: type[Kind], *, streams: Sequence[StreamKey] = ()) -> Iterator[Kind]:
        """All rows of a kind."""
        found: Iterable[Any] = self._log.find(kind)
        return (row for row in found if not streams or (row.stream, row.tenant) in streams)

    def check(self, what: Check) -> Iterator[Problem]:
        """Memory is not kept for long enough to decay, but an import may have brought anything."""
        return check(what, self._log.rows, self._log)

    def backup(self, target: Path, *, progress: ReportProgress) -> BackupReport:  # noqa: ARG002
        """Refused: there is no file to copy."""
        raise Unsupported(
            f"{self._url} has no file to back up",
            hint=f"Export it instead: eskit store export {target.with_suffix('.jsonl').name}",
        )

    def put(self, rows: Iterable[Stored]) -> None:
        """Add rows as they are, each after the rules of its kind."""
        add(self._log, rows)

    def drop(self, rows: Iterable[ClaimRow | CommandRow | Record]) -> None:
        """Drop rows, but no command that was recorded at another time."""
        for row in rows:
            found = self._log.kept[type(row)].get(KEYS[type(row)](row))
            if found and (not isinstance(row, CommandRow) or found.recorded_at == row.recorded_at):
                self._log.drop(row)

    def erase(self, erasure: Erasure) -> Erasure:
        """Blank the rows of the stream, and all that came of them."""
        log, key = self._log, (erasure.stream, erasure.tenant)
        stored = log.streams.get(key)
        if not stored:
            raise StreamNotFound(erasure.stream)
        count = sum(not is_erased(row.metadata) for row in stored)
        log.streams[key] = [row.erased() for row in stored]
        for row in log.streams[key]:
            log.rows[log.index(row.global_position)] = row
        for claim in log.find(ClaimRow, erasure.tenant):
            if claim.stream == erasure.stream:
                log.drop(claim)
        for command in log.find(CommandRow, erasure.tenant):
            if command.stream == erasure.stream:
                log.put(command._replace(response=b""))
        for snapshot in log.find(Snapshot, *key):
            log.drop(snapshot)
        done = erasure.of(version=stored[-1].version, events=count)
        if done.events:
            log.put(done)
        return done

    def adopt(self, store_id: str) -> None:
        """Give the log another id."""
        self._log.store_id = store_id


class MemoryLocation:
    """The Location of a store in memory."""

    read_models = "memory://"
    file = None

    def __init__(self, url: str) -> None:
        self.url = url

    def exists(self) -> bool:
        """It is made whenever it is opened."""
        return True

    def at(self, file: Path) -> NoReturn:
        """Refused: there is no file."""
        raise self._no_file(f"which {file} could stand for")

    def open(self, *, create: bool, clock: Clock) -> MemoryStorage:  # noqa: ARG002 - always there
        """Open the log of that name, or a new one that has none."""
        name = self.url.removeprefix("memory://")
        return MemoryStorage(self.url, log=_named_log(name) if name else None, clock=clock)

    def migrate(self, *, dry_run: bool, progress: ReportProgress) -> MigrationReport:  # noqa: ARG002
        """Refused: what is in memory was made by this eskit."""
        raise Unsupported(
            f"{self.url} has no schema to migrate", hint="Only stores in a file have one."
        )

    def restore(
        self,
        backup: Path,  # noqa: ARG002
        *,
        dry_run: bool,  # noqa: ARG002
        progress: ReportProgress,  # noqa: ARG002
    ) -> RestoreReport:
        """Refused: there is no file to replace."""
        raise self._no_file("that a backup could replace")

    def _no_file(self, purpose: str) -> Unsupported:
        return Unsupported(
            f"{self.url} has no file {purpose}", hint="Only stores in a file are restored."
        )


_named_logs: dict[str, MemoryLog] = {}
_named_logs_lock = threading.Lock()


def _named_log(name: str) -> MemoryLog:
    """The one log of that name in this process; it lives as long as the process."""
    with _named_logs_lock:
        return _named_logs.setdefault(name, MemoryLog())


def _position(row: EventRow) -> int:
    return row.global_position


def _version(row: EventRow) -> int:
    return row.version
