"""The event store: everything that is the same for every database, over a `Storage`."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any, Self, final

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.commands import AppendResult, Command
from eskit.domain.events import EventRow, FoldRow, LogRow, NewEvent, RecordedEvent
from eskit.domain.streams import ExpectedVersion, check_tenant
from eskit.domain.time import from_microseconds
from eskit.errors import InvalidArgument, RecordChanged, StoreDamaged, StoreUnavailable
from eskit.processes.holding import Lock
from eskit.schema.recorded import EventSchema
from eskit.store.appending import MAX_POSITION, Append, check_bounds, keep_events, prepare_append
from eskit.store.copies import COPY_STATE, CopyState, read_state, refuse_changes
from eskit.store.port import PAGE_BYTES, About, Select, Shape, Storage, View
from eskit.store.recording import SchemaRecorder
from eskit.store.records import (
    EARLIER,
    REACTIONS,
    Checkpoint,
    ClaimRow,
    CommandRow,
    Erasure,
    EventType,
    Record,
    Snapshot,
    StreamInfo,
)
from eskit.store.snapshots import Snapshots
from eskit.text.unicode import check_text

_FIRST_PAGE, _LARGEST_PAGE = 64, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreInfo:
    """A store at a glance.

    `first_recorded_at` and `last_recorded_at` are the times of the first and the last event, None
    without events. `commands` counts those that are remembered, expired ones until they are pruned;
    `erasures` the audit records; `bytes` is what the log takes, with what is on its way into it.
    `settings` is what this process uses it with, named like the options of its URL. `copy` is what
    the store is in a copy, None for none.
    """

    url: str
    store_id: str
    events: int
    streams: int
    head: int
    first_recorded_at: datetime | None
    last_recorded_at: datetime | None
    claims: int
    commands: int
    snapshots: int
    erasures: int
    schema_version: int
    bytes: int
    settings: Mapping[str, str | float]
    copy: CopyState | None = None


@final
class EventStore:
    """An append-only log of events in streams.

    Thread-safe. Every read bound is exclusive. Positions grow in commit order: a reader that has
    seen N never later finds a new event below N. Streams are those without a tenant, unless it is
    bound to one with `for_tenant`.
    """

    def __init__(self, storage: Storage, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """An open store over `storage`, which it closes; `open_store` makes one from a URL."""
        about = storage.about()
        self.url = about.url
        """The URL the store was opened with, without secrets."""
        self.store_id = about.store_id
        """A UUID made when the store was created: it tells a log from its copy."""
        self.tenant = ""
        """The tenant of the streams; empty for none."""
        self._storage = storage
        self.clock = clock
        """The clock that the store takes its times from."""
        self._schemas = SchemaRecorder()
        self._only: str | None = None
        self._closed = threading.Event()

    def for_tenant(self, tenant: str) -> EventStore:
        """The same store for one tenant: its streams, claims, commands and events, no others.

        An empty one stands for the streams without a tenant. It is open as long as this one is.
        Raises InvalidArgument for what is no tenant.
        """
        if check_tenant(tenant) == self._only:
            return self
        bound = object.__new__(EventStore)
        bound.__dict__.update(self.__dict__)
        bound.tenant = bound._only = tenant
        return bound

    @property
    def snapshots(self) -> Snapshots:
        """Folded states kept beside the log, from which aggregates load faster."""
        return Snapshots(self._storage, self.clock, self.tenant, self._only)

    def append(
        self,
        stream: str,
        events: Sequence[NewEvent],
        *,
        expected_version: int | ExpectedVersion,
        command: Command | None = None,
    ) -> AppendResult:
        """Append all events, their claims and the command's record, or none of them.

        A command id that is remembered is answered with the first result, and so are event ids that
        are stored when it is the same events again. Raises VersionConflict, ClaimTaken,
        CommandIdReused, EventIdReused, StoreUnavailable, InvalidArgument.
        """
        append = self._prepared(stream, events, expected_version, command)
        result = self._storage.append(append)
        if append.schemas and not result.already_processed:
            self._schemas.confirm(append.events)
        return result

    def submit(
        self,
        stream: str,
        events: Sequence[NewEvent],
        *,
        expected_version: int | ExpectedVersion,
        command: Command | None = None,
    ) -> Future[AppendResult]:
        """Append without waiting; the future has what `append` would return or raise.

        A service has many appends under way, and threads that only wait for a commit cost more
        than all else it does. What one thread submits is appended in its order. Callbacks of the
        future may be called in the thread that commits: they must not wait for anything but an
        append, and may close the store. A future that can be cancelled has appended nothing.
        Raises StoreUnavailable when the store is closed.
        """
        self._check_open()
        try:
            append = self._prepared(stream, events, expected_version, command)
        except InvalidArgument as error:
            refused = Future[AppendResult]()
            refused.set_exception(error)
            return refused
        future = self._storage.submit(append)
        if append.schemas:
            future.add_done_callback(partial(self._confirm, append))
        return future

    def _prepared(
        self,
        stream: str,
        events: Sequence[NewEvent],
        expected_version: int | ExpectedVersion,
        command: Command | None,
    ) -> Append:
        append = prepare_append(
            stream,
            keep_events(events),
            expected_version=expected_version,
            command=command,
            tenant=self.tenant,
        )
        schemas = self._schemas.unrecorded(append.events)
        return append._replace(schemas=schemas) if schemas else append

    def _confirm(self, append: Append, appended: Future[AppendResult]) -> None:
        if appended.cancelled() or appended.exception() is not None:
            return
        if not appended.result().already_processed:
            self._schemas.confirm(append.events)

    def read_stream(
        self,
        stream: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        backward: bool = False,
    ) -> Iterator[RecordedEvent]:
        """The events of a stream between two versions; nothing for an unknown stream."""
        select = self._stream(EventRow, stream, after, before, backward=backward)
        return map(RecordedEvent, chain.from_iterable(self._pages(select, limit)))

    def read_rows(
        self, stream: str, *, after: int = 0, before: int | None = None
    ) -> Iterator[FoldRow]:
        """The same forward, with only what folding needs; StoreDamaged where versions are missing.

        A state that was folded without some of its events would be a wrong one, and nobody would
        see.
        """
        select = self._stream(FoldRow, stream, after, before)
        return chain.from_iterable(self._contiguous(select))

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
        """The log between two positions, in pages: no read transaction stays open between them.

        Ends at the head that the last page saw. An empty filter lets everything pass; a store that
        is bound to a tenant reads no others.
        """
        self._check_open()
        after, upper, _ = check_bounds(after, before, limit)
        if self._only is not None:
            tenants = (self._only,)
        filters = categories, event_types, tenants
        select = Select(EventRow, "", "", after, upper, backward, *filters)
        return map(RecordedEvent, chain.from_iterable(self._pages(select, limit)))

    def read_log_rows(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        event_types: Sequence[str] = (),
    ) -> Iterator[LogRow]:
        """The log of all tenants forward, with only what handling needs, by the million."""
        self._check_open()
        after, upper, _ = check_bounds(after, before, limit)
        select = Select(LogRow, after=after, before=upper, event_types=event_types)
        return chain.from_iterable(self._pages(select, limit))

    def stream_version(self, stream: str) -> int:
        """How many events the stream has; 0 for an unknown one."""
        check_text(stream, "A stream")
        found = self._storage.find(StreamInfo, stream, self.tenant)
        return found[0].version if found else 0

    def find_claim(self, index: str, value: str) -> str | None:
        """The stream that holds the value, if any."""
        check_text(index + value, "A claim")
        found = self._storage.find(ClaimRow, self.tenant, index, value)
        return found[0].stream if found else None

    def find_command(self, command_id: str) -> CommandRow | None:
        """The record of a processed command, until it is pruned; None for one not known."""
        check_text(command_id, "A command id")
        return next(iter(self._storage.find(CommandRow, self.tenant, command_id)), None)

    def head_position(self) -> int:
        """The position of the last event of the log; 0 for an empty one."""
        return self._storage.head()

    def list_streams(self, *, prefix: str = "", limit: int | None = None) -> Iterator[StreamInfo]:
        """Streams by name, of every tenant unless the store is bound to one."""
        self._check_open()
        _, _, most = check_bounds(0, None, limit)
        check_text(prefix, "A filter")
        return self._list_streams(prefix, most)

    def _list_streams(self, prefix: str, limit: int) -> Iterator[StreamInfo]:
        last = "", ""
        for size in page_sizes():
            most = min(size, limit)
            page = self._storage.streams(last, prefix=prefix, tenant=self._only, size=most)
            yield from page
            limit -= len(page)
            if len(page) < most or not limit:
                return
            last = page[-1].stream, page[-1].tenant

    def count_events(
        self, *, after: int = 0, before: int | None = None, event_types: Sequence[str] = ()
    ) -> int:
        """How many events of all tenants lie between two positions; of all types unless named."""
        after, upper, _ = check_bounds(after, before, None)
        return self._storage.count(
            Select(EventRow, after=after, before=upper, event_types=event_types)
        )

    def find_event(self, global_position: int) -> RecordedEvent | None:
        """The event at a position, if there is one, and it is not another tenant's."""
        if not 0 < global_position < MAX_POSITION:
            return None
        at, behind = global_position - 1, global_position + 1
        return next(self.read_all(after=at, before=behind, limit=1), None)

    def find_checkpoint(self, name: str) -> Checkpoint | None:
        """The checkpoint of a subscription that keeps it with the log, if it has one."""
        check_text(name, "A checkpoint")
        return next(iter(self._storage.find(Checkpoint, name)), None)

    def save_checkpoint(
        self, name: str, *, position: int, event_id: str, under: Lock | None = None
    ) -> None:
        """Set the checkpoint of a subscription that keeps it with the log.

        Raises StoreUnavailable, and sets nothing, once the lock that it is `under` was lost.
        """
        check_text(name + event_id, "A checkpoint")
        checkpoint = Checkpoint(
            name=name,
            store_id=self.store_id,
            position=position,
            event_id=event_id,
            updated_at=self.now,
        )
        self._storage.keep([checkpoint], under=under)

    @property
    def now(self) -> datetime:
        """What time it is by the clock that events and records are dated with."""
        return from_microseconds(self._storage.microseconds())

    def lock(self, name: str) -> Lock:
        """A lock, not yet taken, that one at a time has of all who use the store, on any host."""
        return self._storage.lock(name)

    def list_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints kept with the log, by name."""
        return list(self._storage.find(Checkpoint))

    def find_record(self, kind: str, key: str) -> Record | None:
        """What a follower keeps with the log under a kind and a key, if there is something."""
        check_text(kind + key, "A record")
        return next(iter(self._storage.find(Record, kind, key)), None)

    def save_record(self, kind: str, key: str, value: str, *, expected_revision: int) -> int:
        """Keep a value (JSON) in place of that of `expected_revision`, and return the new one.

        A revision of 0 is that of a record which is not there. Raises RecordChanged when the
        record has another revision.
        """
        check_text(kind + key + value, "A record")
        record = self._record(kind, key, value, expected_revision + 1)
        if not self._storage.keep([record]):
            raise RecordChanged(kind, key)
        return record.revision

    def delete_record(self, kind: str, key: str, *, expected_revision: int) -> None:
        """Keep a record no longer; raises RecordChanged when it has another revision."""
        check_text(kind + key, "A record")
        if not self._storage.keep(drop=[self._record(kind, key, "", expected_revision)]):
            raise RecordChanged(kind, key)

    def _record(self, kind: str, key: str, value: str, revision: int) -> Record:
        now = self.now
        return Record(kind=kind, key=key, value=value, revision=revision, updated_at=now)

    def list_records(self, kind: str) -> list[Record]:
        """The records of a kind, by key."""
        check_text(kind, "A record")
        return list(self._storage.find(Record, kind))

    def load_schemas(self) -> list[EventSchema]:
        """The schemas of the events, in the order of the log.

        An append keeps the schema of every type it is the first to use, in its transaction.
        """
        return list(self._storage.find(EventSchema))

    def list_event_types(self) -> list[str]:
        """The types of the events in the log, sorted."""
        return [row.name for row in self._storage.find(EventType)]

    def about(self) -> About:
        """What the storage says of itself."""
        return self._storage.about()

    def info(self) -> StoreInfo:
        """Counts, sizes, versions and settings."""
        about = self._storage.about()
        first = next(self.read_all(limit=1), None)
        last = next(self.read_all(limit=1, backward=True), None)
        with self.view() as view:
            return StoreInfo(
                url=self.url,
                store_id=self.store_id,
                events=view.count(EventRow),
                streams=view.count(StreamInfo),
                head=view.head(),
                first_recorded_at=first.recorded_at if first else None,
                last_recorded_at=last.recorded_at if last else None,
                claims=view.count(ClaimRow),
                commands=view.count(CommandRow),
                snapshots=view.count(Snapshot),
                erasures=view.count(Erasure),
                schema_version=about.schema_version,
                bytes=about.bytes,
                settings={
                    **about.settings,
                    "command_ttl_days": about.command_ttl / timedelta(days=1),
                },
                copy=self.find_copy(),
            )

    def wait(self, after: int, timeout: float) -> bool:
        """Block until the log has an event after a position, at most `timeout` seconds.

        True if it has. Appends of this process wake it at once, others within a short poll.
        """
        return self._storage.head(after, timeout) > after

    @contextmanager
    def view(self, *, exclusive: bool = False, copying: bool = False) -> Iterator[View]:
        """The whole store at one moment, for operations on it; see `View`.

        An exclusive one raises StoreUnavailable where a copy has closed the store, unless it is
        the copy itself that asks.
        """
        with self._storage.view(exclusive=exclusive) as view:
            if exclusive and not copying:
                refuse_changes(self._storage.find(Record, *COPY_STATE))
            yield view

    def find_copy(self) -> CopyState | None:
        """What the store is in a copy; None for a store that is in none."""
        found = self._storage.find(Record, *COPY_STATE)
        return read_state(found[0].value) if found else None

    def scrub(self) -> None:
        """Leave nothing of what was erased in free space; see `operations.erasing.erase`."""
        self._storage.scrub()

    def check_writing(self) -> None:
        """Write something that changes nothing. Raises what an append would: StoreUnavailable."""
        self._storage.keep()

    def close(self) -> None:
        """Finish what is being appended and let go of every resource; idempotent."""
        self._closed.set()
        self._storage.close()

    def _check_open(self) -> None:
        """What is read later is refused at once; everything else the storage refuses."""
        if self._closed.is_set():
            raise StoreUnavailable(f"{self.url} is closed", hint="Open the store again.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _stream(
        self,
        shape: type[Shape],
        stream: str,
        after: int,
        before: int | None,
        *,
        backward: bool = False,
    ) -> Select[Shape]:
        self._check_open()
        check_text(stream, "A stream")
        after, upper, _ = check_bounds(after, before, None)
        return Select(shape, stream, self.tenant, after, upper, backward)

    def _pages(self, select: Select[Shape], limit: int | None) -> Iterator[Sequence[Shape]]:
        """Pages of a selection; each is one short read, none stays open between them."""
        _, _, most = check_bounds(0, None, limit)
        for size in page_sizes():
            page = self._storage.read(select, min(size, most))
            yield page
            if len(page) < min(size, most) and not _is_full(page):
                return
            most -= len(page)
            if not most:
                return
            select = _behind(select, page[-1])

    def _contiguous(self, select: Select[FoldRow]) -> Iterator[Sequence[FoldRow]]:
        after = select.after
        for page in self._pages(select, None):
            # Versions only grow, so the last one tells whether all before it are there.
            if page and page[-1].version != after + len(page):
                expected = enumerate(page, start=after + 1)
                missing = next(version for version, row in expected if row.version != version)
                raise missing_version(select.stream, missing)
            yield page
            after += len(page)


def _behind(select: Select[Any], last: Any) -> Select[Any]:
    """What is left of a selection after a row."""
    place = last.version if select.stream else last.global_position
    return select._replace(before=place) if select.backward else select._replace(after=place)


def page_sizes() -> Iterator[int]:
    """How many rows to ask for next: few at first, for small streams."""
    size = _FIRST_PAGE
    while True:
        yield size
        size = min(size * 4, _LARGEST_PAGE)


def _is_full(page: Sequence[Any]) -> bool:
    """Whether the bytes of a page have ended it; erased events and damaged rows may have none."""
    sizes = (len(row.data) for row in page if isinstance(row.data, bytes | str))
    return sum(sizes) > PAGE_BYTES


def missing_version(stream: str, version: int) -> StoreDamaged:
    """The error for a stream that has later versions than one that is not there."""
    return StoreDamaged(
        f"Version {version} of {stream} is missing, but {stream} has later versions"
    )


def earlier_position(store: EventStore) -> int:
    """Up to where reactions may have come that kept their places elsewhere; 0 for not at all."""
    record = store.find_record(EARLIER, REACTIONS)
    return 0 if record is None else int(json.loads(record.value)["position"])
