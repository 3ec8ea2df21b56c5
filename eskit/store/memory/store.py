"""The event store in memory: for tests, and for trying things out."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import timedelta
from itertools import islice
from typing import Self

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.commands import AppendResult, Command
from eskit.domain.events import EventRow, FoldRow, LogRow, NewEvent, RecordedEvent
from eskit.domain.streams import ExpectedVersion, category_of, check_tenant
from eskit.domain.time import from_microseconds
from eskit.errors import RecordChanged, StoreUnavailable
from eskit.schema.recorded import EventSchema
from eskit.store.appending import (
    Append,
    check_bounds,
    check_version,
    claims_to_json,
    first_append,
    first_result,
    keep_events,
    prepare_append,
    settle_claims,
)
from eskit.store.eventstore import StoreInfo, StreamInfo, recorded_at
from eskit.store.maintenance import Maintenance
from eskit.store.memory.log import MemoryLog, StreamKey, position_of
from eskit.store.memory.maintenance import MemoryMaintenance
from eskit.store.memory.snapshots import MemorySnapshots
from eskit.store.recording import SchemaRecorder, schemas_from
from eskit.store.records import Checkpoint, CommandRecord, Record
from eskit.store.settings import DEFAULT_COMMAND_TTL
from eskit.store.signal import Signal
from eskit.store.snapshots import SnapshotStore
from eskit.text.unicode import check_text

_PAGE = 1024


_DAY = timedelta(days=1) // timedelta(microseconds=1)


class MemoryStore:
    """An EventStore that is gone when the process ends."""

    def __init__(
        self,
        url: str = "memory://",
        *,
        log: MemoryLog | None = None,
        command_ttl: timedelta = DEFAULT_COMMAND_TTL,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Open a store over `log`, by default over a new one."""
        self._url = url
        self._log = log or MemoryLog(signal=Signal(clock))
        self._command_ttl = command_ttl // timedelta(microseconds=1)
        self._clock = clock
        self._closed = False
        self._schemas = SchemaRecorder()

    @property
    def url(self) -> str:
        """The URL the store was opened with."""
        return self._url

    @property
    def store_id(self) -> str:
        """A UUID made when the log was created."""
        return self._log.store_id

    @property
    def maintenance(self) -> Maintenance:
        """Operations on the store as a whole."""
        self._check_open()
        return MemoryMaintenance(
            log=self._log, url=self._url, command_ttl=self._command_ttl, clock=self._clock
        )

    @property
    def snapshots(self) -> SnapshotStore:
        """Folded states kept beside the log."""
        return MemorySnapshots(self._log, self._clock, self._check_open)

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
        self._check_open()
        events = keep_events(events)
        request = prepare_append(
            stream, events, expected_version=expected_version, command=command, tenant=tenant
        )
        kinds = self._schemas.unrecorded(events)
        with self._log.lock:
            result = self._append(request, self._clock.microseconds())
            if kinds and not result.already_processed:
                first = result.global_position - len(events) + 1
                self._log.add_schemas(schemas_from(events, kinds, first_position=first))
                self._schemas.confirm(kinds)
        self._log.signal.notify()
        return result

    def submit(
        self,
        stream: str,
        events: Sequence[NewEvent],
        *,
        expected_version: int | ExpectedVersion,
        command: Command | None = None,
        tenant: str = "",
    ) -> Future[AppendResult]:
        """Append at once: there is no commit that takes long."""
        self._check_open()
        submitted = Future[AppendResult]()
        try:
            result = self.append(
                stream, events, expected_version=expected_version, command=command, tenant=tenant
            )
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            submitted.set_exception(error)
        else:
            submitted.set_result(result)
        return submitted

    def _append(self, request: Append, now: int) -> AppendResult:
        log, command, tenant = self._log, request.command, request.tenant
        if command is not None:
            _, record = self._log.commands.get((tenant, command.id), (0, None))
            if record is not None:
                return first_result(request, command, record)
        if request.given_ids and (first := first_append(request, log.find_by_id)):
            return first
        stored = log.streams.get((request.stream, tenant), [])
        check_version(request, len(stored))
        owners = settle_claims(request, lambda index, value: log.claims.get((tenant, index, value)))

        self._add_events(request, now)
        for (index, value), owner in owners.items():
            if owner is None:
                log.claims.pop((tenant, index, value), None)
            else:
                log.claims[tenant, index, value] = owner
        stored = log.streams.get((request.stream, tenant), [])
        result = AppendResult(
            version=len(stored),
            global_position=stored[-1][0] if stored else 0,
            response=b"" if command is None else command.response,
        )
        if command is not None:
            # Never before the log, however wrong the clock is: a command is forgotten by its age.
            made = max(now, log.rows[-1][5]) if log.rows else now
            log.commands[tenant, command.id] = made, _record(request.stream, command, result)
        return result

    def _add_events(self, request: Append, now: int) -> None:
        log = self._log
        if not request.events:
            return
        stored = log.streams.setdefault((request.stream, request.tenant), [])
        recorded_at = max(now, log.rows[-1][5]) if log.rows else now
        for event_id, event_type, metadata, claims, data in request.events:
            position = log.head_position() + 1
            row = EventRow(
                position,
                request.stream,
                len(stored) + 1,
                event_id,
                event_type,
                recorded_at,
                request.tenant,
                metadata,
                data,
                claims_to_json(claims),
            )
            log.add(row)

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
        rows = self._stream_rows(stream, after, before, limit, tenant, backward=backward)
        return (RecordedEvent(row) for row in rows)

    def read_rows(
        self, stream: str, *, after: int = 0, before: int | None = None, tenant: str = ""
    ) -> Iterator[FoldRow]:
        """The same forward, with only what folding needs."""
        return map(FoldRow.of, self._stream_rows(stream, after, before, None, tenant))

    def _stream_rows(
        self,
        stream: str,
        after: int,
        before: int | None,
        limit: int | None,
        tenant: str,
        *,
        backward: bool = False,
    ) -> Iterator[EventRow]:
        self._check_open()
        check_text(stream, "A stream")
        after, upper, most = check_bounds(after, before, limit)
        with self._log.lock:
            rows = self._log.streams.get((stream, check_tenant(tenant)), [])[
                after : max(upper - 1, 0)
            ]
        return iter(rows[::-1][:most] if backward else rows[:most])

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
        """The log between two positions."""
        self._check_open()
        after, upper, most = check_bounds(after, before, limit)
        matching = (
            row
            for row in self._log_rows(after, upper, backward=backward)
            if (not categories or category_of(row[1]) in categories)
            and (not event_types or row[4] in event_types)
            and (not tenants or row[6] in tenants)
        )
        return (RecordedEvent(row) for _, row in zip(range(most), matching, strict=False))

    def read_log_rows(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        event_types: Sequence[str] = (),
    ) -> Iterator[LogRow]:
        """The log forward with only what handling needs."""
        self._check_open()
        after, upper, most = check_bounds(after, before, limit)
        rows = self._log_rows(after, upper, backward=False)
        wanted = (LogRow.of(row) for row in rows if not event_types or row[4] in event_types)
        return islice(wanted, most)

    def _log_rows(self, after: int, before: int, *, backward: bool) -> Iterator[EventRow]:
        rows = self._log.rows
        while True:
            self._check_open()
            with self._log.lock:
                first = bisect_right(rows, after, key=position_of)
                last = max(bisect_left(rows, before, key=position_of), first)
                if backward:
                    first = max(first, last - _PAGE)
                else:
                    last = min(last, first + _PAGE)
                page = rows[first:last]
            if not page:
                return
            if backward:
                yield from reversed(page)
                before = page[0][0]
            else:
                yield from page
                after = page[-1][0]

    def stream_version(self, stream: str, tenant: str = "") -> int:
        """How many events the stream has."""
        self._check_open()
        check_text(stream, "A stream")
        with self._log.lock:
            return len(self._log.streams.get((stream, check_tenant(tenant)), []))

    def find_claim(self, index: str, value: str, tenant: str = "") -> str | None:
        """The stream that holds the value, if any."""
        self._check_open()
        check_text(index + value, "A claim")
        check_tenant(tenant)
        with self._log.lock:
            return self._log.claims.get((tenant, index, value))

    def find_command(self, command_id: str, tenant: str = "") -> CommandRecord | None:
        """The record of a processed command, until it is pruned."""
        self._check_open()
        check_text(command_id, "A command id")
        check_tenant(tenant)
        with self._log.lock:
            return self._log.commands.get((tenant, command_id), (0, None))[1]

    def head_position(self) -> int:
        """The position of the last event; 0 for an empty log."""
        self._check_open()
        with self._log.lock:
            return self._log.head_position()

    def list_streams(
        self, *, prefix: str = "", limit: int | None = None, tenant: str | None = None
    ) -> Iterator[StreamInfo]:
        """Streams by name; those of every tenant unless one is named."""
        self._check_open()
        _, _, most = check_bounds(0, None, limit)
        check_text(prefix + (tenant or ""), "A filter")
        with self._log.lock:
            found = sorted(
                (key, rows[0], rows[-1])
                for key, rows in self._log.streams.items()
                if key[0].startswith(prefix) and tenant in (None, key[1])
            )
        return (_stream_info(key, first, last) for key, first, last in found[:most])

    def count_events(
        self, *, after: int = 0, before: int | None = None, event_types: Sequence[str] = ()
    ) -> int:
        """How many events lie between two positions."""
        return sum(1 for _ in self.read_all(after=after, before=before, event_types=event_types))

    def find_event(self, global_position: int) -> RecordedEvent | None:
        """The event at a position, if there is one."""
        self._check_open()
        with self._log.lock:
            at = bisect_left(self._log.rows, global_position, key=position_of)
            rows = self._log.rows[at : at + 1]
        return RecordedEvent(rows[0]) if rows and rows[0][0] == global_position else None

    def find_checkpoint(self, name: str) -> Checkpoint | None:
        """The checkpoint of a subscription that keeps it with the log."""
        self._check_open()
        check_text(name, "A checkpoint")
        return self._log.checkpoints.get(name)

    def save_checkpoint(self, name: str, *, position: int, event_id: str) -> None:
        """Set the checkpoint of a subscription that keeps it with the log."""
        self._check_open()
        check_text(name + event_id, "A checkpoint")
        self._log.checkpoints[name] = Checkpoint(
            name=name,
            store_id=self.store_id,
            position=position,
            event_id=event_id,
            updated_at=from_microseconds(self._clock.microseconds()),
        )

    def list_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints kept with the log, by name."""
        self._check_open()
        return [self._log.checkpoints[name] for name in sorted(self._log.checkpoints)]

    def find_record(self, kind: str, key: str) -> Record | None:
        """What a follower keeps with the log under a kind and a key."""
        self._check_open()
        check_text(kind + key, "A record")
        with self._log.lock:
            return self._log.records.get((kind, key))

    def save_record(self, kind: str, key: str, value: str, *, expected_revision: int) -> int:
        """Keep a value in place of that of `expected_revision`, and return the new revision."""
        self._check_open()
        check_text(kind + key + value, "A record")
        with self._log.lock:
            self._check_revision(kind, key, expected_revision)
            self._log.records[kind, key] = Record(
                kind=kind,
                key=key,
                value=value,
                revision=expected_revision + 1,
                updated_at=from_microseconds(self._clock.microseconds()),
            )
        return expected_revision + 1

    def delete_record(self, kind: str, key: str, *, expected_revision: int) -> None:
        """Keep a record no longer."""
        self._check_open()
        check_text(kind + key, "A record")
        with self._log.lock:
            self._check_revision(kind, key, expected_revision)
            if not self._log.records.pop((kind, key), None):
                raise RecordChanged(kind, key)

    def _check_revision(self, kind: str, key: str, expected: int) -> None:
        found = self._log.records.get((kind, key))
        if (found.revision if found else 0) != expected:
            raise RecordChanged(kind, key)

    def list_records(self, kind: str) -> list[Record]:
        """The records of a kind, by key."""
        self._check_open()
        check_text(kind, "A record")
        with self._log.lock:
            found = sorted(key for key in self._log.records if key[0] == kind)
            return [self._log.records[key] for key in found]

    def load_schemas(self) -> list[EventSchema]:
        """The schemas of the events, in the order of the log."""
        self._check_open()
        with self._log.lock:
            return list(self._log.schemas)

    def list_event_types(self) -> list[str]:
        """The types of the events in the log, sorted."""
        self._check_open()
        with self._log.lock:
            return sorted({row[4] for row in self._log.rows})

    def info(self) -> StoreInfo:
        """Counts; a memory store has no files and no schema."""
        self._check_open()
        return StoreInfo(
            url=self._url,
            store_id=self.store_id,
            events=len(self._log.rows),
            streams=len(self._log.streams),
            head=self._log.head_position(),
            first_recorded_at=recorded_at(self.read_all(limit=1)),
            last_recorded_at=recorded_at(self.read_all(limit=1, backward=True)),
            claims=len(self._log.claims),
            commands=len(self._log.commands),
            snapshots=sum(map(len, self._log.snapshots.values())),
            erasures=len(self._log.erasures),
            schema_version=0,
            bytes=0,
            settings={"command_ttl_days": self._command_ttl / _DAY},
        )

    def wait(self, after: int, timeout: float) -> bool:
        """Block until the log has an event after a position, at most `timeout` seconds."""
        return self._log.signal.wait_until(lambda: self.head_position() > after, timeout)

    def close(self) -> None:
        """Refuse further use; idempotent. A named log stays for the next store of its name."""
        self._closed = True
        self._log.signal.notify()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._url} is closed", hint="Open the store again.")


def _record(stream: str, command: Command, result: AppendResult) -> CommandRecord:
    return CommandRecord(
        id=command.id,
        fingerprint=command.fingerprint,
        stream=stream,
        version=result.version,
        global_position=result.global_position,
        response=command.response,
    )


def _stream_info(key: StreamKey, first: EventRow, last: EventRow) -> StreamInfo:
    stream, tenant = key
    return StreamInfo(
        stream=stream,
        tenant=tenant,
        category=category_of(stream),
        version=last[2],
        first_recorded_at=from_microseconds(first[5]),
        last_recorded_at=from_microseconds(last[5]),
    )
