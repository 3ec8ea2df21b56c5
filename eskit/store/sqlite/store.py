"""The event store in one SQLite file."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.commands import AppendResult, Command
from eskit.domain.events import EventRow, FoldRow, LogRow, NewEvent, RecordedEvent
from eskit.domain.streams import ExpectedVersion, check_tenant
from eskit.errors import RecordChanged, StoreUnavailable
from eskit.files.modes import PRIVATE
from eskit.schema.recorded import EventSchema
from eskit.sqlite import forking
from eskit.sqlite.connections import ReaderPool, connect
from eskit.sqlite.errors import translated
from eskit.sqlite.leftovers import forget_files
from eskit.sqlite.place import FilePlace, find_status
from eskit.sqlite.watching import FileWatch
from eskit.store.appending import (
    MAX_POSITION,
    Append,
    check_bounds,
    keep_events,
    prepare_append,
)
from eskit.store.eventstore import StoreInfo, StreamInfo, recorded_at
from eskit.store.maintenance import Maintenance
from eskit.store.recording import Kinds, SchemaRecorder, schemas_from
from eskit.store.records import Checkpoint, CommandRecord, Record
from eskit.store.settings import DEFAULT_COMMAND_TTL
from eskit.store.signal import Signal
from eskit.store.snapshots import SnapshotStore
from eskit.store.sqlite import appender, reader
from eskit.store.sqlite.commits import Committer
from eskit.store.sqlite.maintenance import SqliteMaintenance
from eskit.store.sqlite.opening import open_file
from eskit.store.sqlite.queries import query
from eskit.store.sqlite.recording import load_schemas, save_schemas
from eskit.store.sqlite.schema import current_version
from eskit.store.sqlite.snapshots import SqliteSnapshots
from eskit.store.sqlite.times import moment
from eskit.store.sqlite.tip import Tip
from eskit.store.sqlite.transaction import Transaction
from eskit.store.sqlite.write import Work
from eskit.store.sqlite.writer import Writer
from eskit.text.unicode import check_text

Result = TypeVar("Result")
_POLL_PAUSES = 0.002, 0.05
_LOOK_ANYWAY = 10
_Request: TypeAlias = tuple[str, Sequence[NewEvent], int | ExpectedVersion, Command | None, str]


class SqliteStore:
    """An EventStore over one file in WAL mode.

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
        command_ttl: timedelta = DEFAULT_COMMAND_TTL,
        clock: Clock = SYSTEM_CLOCK,
        file_mode: int = PRIVATE,
    ) -> None:
        """Open the file, creating it if it is missing and `create` allows it.

        Raises StoreUnavailable, STORE_NOT_RECOGNISED, SCHEMA_OUTDATED or SCHEMA_TOO_NEW.
        """
        name = path.absolute()
        # Beside the file itself SQLite puts its own, whatever links lead there.
        self._path = path = Path(os.path.realpath(name))
        self._url = url
        self._clock = clock
        self._settings: dict[str, str | float] = {
            "synchronous": synchronous.lower(),
            "busy_timeout": busy_timeout,
            "command_ttl_days": command_ttl / timedelta(days=1),
        }
        self._process = os.getpid()
        self._closed = False
        with translated(url):
            opened = open_file(
                path, url, create=create, timeout=busy_timeout, file_mode=file_mode, clock=clock
            )
        self._store_id = opened.store_id
        self._place = FilePlace(name, url, clock)
        self._readers = ReaderPool(
            lambda: connect(path, mode=opened.read_mode),
            check=self._check_readable,
            made=self._place.opened,
        )
        self._tip = Tip()
        self._signal = Signal(clock)
        committer = Committer(
            path,
            url,
            self._place,
            self._tip,
            store_id=opened.store_id,
            synchronous=synchronous,
            busy_timeout=busy_timeout,
            committed=self._signal.notify,
            clock=clock,
        )
        self._writer = Writer(committer, url, clock)
        self._snapshots = SqliteSnapshots(self._write, self._read_rows, clock)
        self._schemas = SchemaRecorder()
        self._maintenance = SqliteMaintenance(
            path=path,
            url=url,
            store_id=opened.store_id,
            read_mode=opened.read_mode,
            busy_timeout=busy_timeout,
            command_ttl=command_ttl // timedelta(microseconds=1),
            clock=clock,
            file_mode=file_mode,
        )

    @property
    def url(self) -> str:
        """The URL the store was opened with."""
        return self._url

    @property
    def store_id(self) -> str:
        """A UUID made when the store was created."""
        return self._store_id

    @property
    def maintenance(self) -> Maintenance:
        """Operations on the store as a whole."""
        self._check_readable(None)
        return self._maintenance

    @property
    def snapshots(self) -> SnapshotStore:
        """Folded states kept beside the log."""
        self._check_usable()
        return self._snapshots

    def append(
        self,
        stream: str,
        events: Sequence[NewEvent],
        *,
        expected_version: int | ExpectedVersion,
        command: Command | None = None,
        tenant: str = "",
    ) -> AppendResult:
        """Append all events, their claims and the command's record, or none of them."""
        self._check_usable()
        request = stream, keep_events(events), expected_version, command, tenant
        return self._appended(self._writer.run(self._append, request, self._find_appended))

    def submit(
        self,
        stream: str,
        events: Sequence[NewEvent],
        *,
        expected_version: int | ExpectedVersion,
        command: Command | None = None,
        tenant: str = "",
    ) -> Future[AppendResult]:
        """Append without waiting: the future has the result, or what `append` would raise."""
        self._check_usable()
        request = stream, keep_events(events), expected_version, command, tenant
        return self._writer.submit(self._append, request, self._find_appended, self._appended)

    def check_writing(self) -> None:
        """Write something that changes nothing; StoreUnavailable when the disk is full."""
        self._write(_touch, None)

    def _append(self, transaction: Transaction, request: _Request) -> tuple[AppendResult, Kinds]:
        """Whoever commits does it for all, one after another: also what needs no transaction.

        Threads that each did that for themselves would spend more on taking turns than it costs.
        """
        append, events = _prepare(request), request[1]
        kinds = self._schemas.unrecorded(events)
        result = appender.append(transaction, append, now=self._clock.microseconds())
        if kinds and not result.already_processed:
            first = result.global_position - len(events) + 1
            schemas = schemas_from(events, kinds, first_position=first)
            save_schemas(transaction.beside_events, schemas)
        return result, kinds

    def _find_appended(
        self, transaction: Transaction, request: _Request
    ) -> tuple[AppendResult, Kinds] | None:
        """The outcome of an append whose commit gave no answer, if it was committed."""
        result = appender.find_stored(transaction.cursor, _prepare(request))
        return None if result is None else (result, self._schemas.unrecorded(request[1]))

    def _appended(self, outcome: tuple[AppendResult, Kinds]) -> AppendResult:
        """What is left to do after the commit."""
        result, kinds = outcome
        if kinds and not result.already_processed:
            self._schemas.confirm(kinds)
        return result

    def read_stream(
        self,
        stream: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        backward: bool = False,
        tenant: str = "",
    ) -> Iterator[RecordedEvent]:
        """The events of a stream between two versions."""
        pages = self._stream_pages(stream, after, before, limit, tenant, backward=backward)
        return (RecordedEvent(row) for page in pages for row in page)

    def read_rows(
        self, stream: str, *, after: int = 0, before: int | None = None, tenant: str = ""
    ) -> Iterator[FoldRow]:
        """The same forward, with only what folding needs."""
        self._check_usable()
        check_text(stream, "A stream")
        after, upper, _ = check_bounds(after, before, None)
        pages = reader.read_fold_rows(
            self._readers, self._url, stream, check_tenant(tenant), after=after, before=upper
        )
        return chain.from_iterable(pages)

    def read_all(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        backward: bool = False,
        categories: Sequence[str] = (),
        event_types: Sequence[str] = (),
        tenants: Sequence[str] = (),
    ) -> Iterator[RecordedEvent]:
        """The log between two positions, in pages."""
        self._check_usable()
        after, upper, most = check_bounds(after, before, limit)
        pages = reader.read_log(
            self._readers,
            self._url,
            after=after,
            before=upper,
            limit=most,
            backward=backward,
            categories=categories,
            event_types=event_types,
            tenants=tenants,
        )
        return (RecordedEvent(row) for page in pages for row in page)

    def read_log_rows(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        event_types: Sequence[str] = (),
    ) -> Iterator[LogRow]:
        """The log forward with only what handling needs, in pages."""
        self._check_usable()
        after, upper, most = check_bounds(after, before, limit)
        pages = reader.read_log_rows(
            self._readers,
            self._url,
            after=after,
            before=upper,
            limit=most,
            event_types=event_types,
        )
        return chain.from_iterable(pages)

    def stream_version(self, stream: str, tenant: str = "") -> int:
        """How many events the stream has."""
        check_text(stream, "A stream")
        rows = self._read_rows("find_stream", (stream, check_tenant(tenant)))
        return rows[0][1] or 0 if rows else 0

    def find_claim(self, index: str, value: str, tenant: str = "") -> str | None:
        """The stream that holds the value, if any."""
        check_text(index + value, "A claim")
        check_tenant(tenant)
        return self._read(lambda reading: appender.find_claim(reading, tenant, index, value))

    def find_command(self, command_id: str, tenant: str = "") -> CommandRecord | None:
        """The record of a processed command, until it is pruned."""
        check_text(command_id, "A command id")
        check_tenant(tenant)
        return self._read(lambda reading: appender.find_command(reading, command_id, tenant))

    def head_position(self) -> int:
        """The position of the last event; 0 for an empty log."""
        rows = self._read_rows("find_head", ())
        return rows[0][0] if rows else 0

    def list_streams(
        self, *, prefix: str = "", limit: int | None = None, tenant: str | None = None
    ) -> Iterator[StreamInfo]:
        """Streams by name; those of every tenant unless one is named."""
        _, _, most = check_bounds(0, None, limit)
        check_text(prefix + (tenant or ""), "A filter")
        return self._list_streams(prefix, most, tenant)

    def count_events(
        self, *, after: int = 0, before: int | None = None, event_types: Sequence[str] = ()
    ) -> int:
        """How many events lie between two positions."""
        after, upper, _ = check_bounds(after, before, None)
        if event_types:
            return self._count("count_kinds", (after, upper, json.dumps(list(event_types))))
        return self._count("count_events", (after, upper))

    def find_event(self, global_position: int) -> RecordedEvent | None:
        """The event at a position, if there is one."""
        if not 0 < global_position <= MAX_POSITION:
            return None
        rows = self._read_rows("find_event", (global_position,))
        return RecordedEvent(EventRow(*rows[0])) if rows else None

    def find_checkpoint(self, name: str) -> Checkpoint | None:
        """The checkpoint of a subscription that keeps it with the log."""
        check_text(name, "A checkpoint")
        rows = self._read_rows("find_checkpoint", (name,))
        return self._checkpoint(*rows[0]) if rows else None

    def save_checkpoint(self, name: str, *, position: int, event_id: str) -> None:
        """Set the checkpoint of a subscription that keeps it with the log."""
        check_text(name + event_id, "A checkpoint")
        row = (name, self._store_id, position, event_id, self._clock.microseconds())
        self._write(_save_checkpoint, row)

    def list_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints kept with the log, by name."""
        return [self._checkpoint(*row) for row in self._read_rows("list_checkpoints", ())]

    def find_record(self, kind: str, key: str) -> Record | None:
        """What a follower keeps with the log under a kind and a key."""
        check_text(kind + key, "A record")
        rows = self._read_rows("find_record", (kind, key))
        return self._record(*rows[0]) if rows else None

    def save_record(self, kind: str, key: str, value: str, *, expected_revision: int) -> int:
        """Keep a value in place of that of `expected_revision`, and return the new revision."""
        check_text(kind + key + value, "A record")
        row = (kind, key, value, self._clock.microseconds(), expected_revision)
        self._write(_save_record, row, _find_saved)
        return expected_revision + 1

    def delete_record(self, kind: str, key: str, *, expected_revision: int) -> None:
        """Keep a record no longer."""
        check_text(kind + key, "A record")
        self._write(_delete_record, (kind, key, expected_revision), _find_deleted)

    def list_records(self, kind: str) -> list[Record]:
        """The records of a kind, by key."""
        check_text(kind, "A record")
        return [self._record(*row) for row in self._read_rows("list_records", (kind,))]

    def load_schemas(self) -> list[EventSchema]:
        """The schemas of the events, in the order of the log."""
        return self._read(load_schemas)

    def list_event_types(self) -> list[str]:
        """The types of the events in the log, sorted."""
        return [row[0] for row in self._read_rows("list_event_types", ())]

    def info(self) -> StoreInfo:
        """Counts, sizes, versions and settings."""
        return StoreInfo(
            url=self._url,
            store_id=self._store_id,
            events=self.count_events(),
            streams=self._count("count_streams", ()),
            head=self.head_position(),
            first_recorded_at=recorded_at(self.read_all(limit=1)),
            last_recorded_at=recorded_at(self.read_all(limit=1, backward=True)),
            claims=self._count("count_claims", ()),
            commands=self._count("count_commands", ()),
            snapshots=self._count("count_snapshots", ()),
            erasures=self._count("count_erasures", ()),
            schema_version=current_version(),
            bytes=self._size("") + self._size("-wal"),
            settings=self._settings,
        )

    def wait(self, after: int, timeout: float) -> bool:
        """Block until the log has an event after a position, at most `timeout` seconds."""
        return self._signal.wait_until(
            lambda: self.head_position() > after,
            timeout,
            poll=_POLL_PAUSES,
            changed=self._watching(),
        )

    def close(self) -> None:
        """Finish what is being appended and let go of the file; idempotent."""
        if os.getpid() != self._process:
            return
        self._closed = True  # and go on if it was: the last time may have been interrupted
        self._readers.close()
        self._writer.close()
        forget_files(self._path)
        self._signal.notify()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _stream_pages(
        self,
        stream: str,
        after: int,
        before: int | None,
        limit: int | None,
        tenant: str,
        *,
        backward: bool = False,
    ) -> Iterator[list[EventRow]]:
        self._check_usable()
        check_text(stream, "A stream")
        after, upper, most = check_bounds(after, before, limit)
        return reader.read_stream(
            self._readers,
            self._url,
            stream,
            check_tenant(tenant),
            after=after,
            before=upper,
            limit=most,
            backward=backward,
        )

    def _list_streams(self, prefix: str, limit: int, tenant: str | None) -> Iterator[StreamInfo]:
        last = ("", "")
        for size in reader.page_sizes():
            most = min(size, limit)
            page = self._read_rows("list_streams", (*last, prefix, tenant, most))
            yield from (self._stream_info(*row) for row in page)
            limit -= len(page)
            if len(page) < most or not limit:
                return
            last = page[-1][:2]

    def _stream_info(
        self, stream: str, tenant: str, category: str, version: int, first: int, last: int
    ) -> StreamInfo:
        return StreamInfo(
            stream=stream,
            tenant=tenant,
            category=category,
            version=version,
            first_recorded_at=moment(first, self._url),
            last_recorded_at=moment(last, self._url),
        )

    def _checkpoint(
        self, name: str, store_id: str, position: int, event_id: str, updated_at: int
    ) -> Checkpoint:
        return Checkpoint(
            name=name,
            store_id=store_id,
            position=position,
            event_id=event_id,
            updated_at=moment(updated_at, self._url),
        )

    def _record(self, kind: str, key: str, value: str, revision: int, updated_at: int) -> Record:
        return Record(
            kind=kind,
            key=key,
            value=value,
            revision=revision,
            updated_at=moment(updated_at, self._url),
        )

    def _watching(self) -> Callable[[], bool]:
        """Whether a look is worth while; now and then anyway, at whether the files are there."""
        watch, looks = FileWatch(self._path, self._url), itertools.count(1)
        return lambda: watch.changed() or next(looks) % _LOOK_ANYWAY == 0

    def _count(self, name: str, parameters: tuple[object, ...]) -> int:
        count: int = self._read_rows(name, parameters)[0][0]
        return count

    def _size(self, suffix: str) -> int:
        found = find_status(Path(f"{self._path}{suffix}"), self._url)
        return 0 if found is None else found.st_size

    def _read_rows(self, name: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        return self._read(lambda reading: reading.execute(query(name), parameters).fetchall())

    def _read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with translated(self._url), self._readers.borrow() as connection:
            return work(connection)

    def _write(self, work: Work, request: Any, find_result: Work | None = None) -> Any:
        self._check_usable()
        return self._writer.run(work, request, find_result)

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


def _prepare(request: _Request) -> Append:
    stream, events, expected_version, command, tenant = request
    return prepare_append(
        stream, events, expected_version=expected_version, command=command, tenant=tenant
    )


def _save_checkpoint(transaction: Transaction, row: tuple[object, ...]) -> None:
    transaction.beside_events.execute(query("save_checkpoint"), row)


def _save_record(transaction: Transaction, row: tuple[str, str, str, int, int]) -> None:
    kind, key, value, now, expected = row
    cursor = transaction.beside_events
    if expected:
        changed = cursor.execute(query("update_record"), row).rowcount
    else:
        changed = cursor.execute(query("insert_record"), (kind, key, value, now)).rowcount
    if not changed:
        raise RecordChanged(kind, key)


def _find_saved(transaction: Transaction, row: tuple[str, str, str, int, int]) -> bool | None:
    """Whether the record has the value, and the revision that it gets with it."""
    kind, key, value, _, expected = row
    found = transaction.cursor.execute(query("find_record"), (kind, key)).fetchone()
    return True if found and found[2:4] == (value, expected + 1) else None


def _delete_record(transaction: Transaction, row: tuple[str, str, int]) -> None:
    if not transaction.beside_events.execute(query("delete_record"), row).rowcount:
        raise RecordChanged(*row[:2])


def _find_deleted(transaction: Transaction, row: tuple[str, str, int]) -> bool | None:
    """Whether the record is gone."""
    return None if transaction.cursor.execute(query("find_record"), row[:2]).fetchone() else True


def _touch(transaction: Transaction, _request: None) -> None:
    # It is the number that stands there, but it is written to disk all the same.
    (number,) = transaction.cursor.execute("PRAGMA user_version").fetchone()
    transaction.cursor.execute(f"PRAGMA user_version = {number}")
