"""What is the same for stores that look their rows up one by one, such as the one in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from eskit.domain.events import EventRow
from eskit.domain.ids import uuid_bytes
from eskit.domain.streams import category_of
from eskit.domain.time import from_microseconds
from eskit.errors import StreamNotFound
from eskit.store.adding import check_follows, check_has_happened, id_is_taken, run_claims
from eskit.store.appending import Found
from eskit.store.copies import COPY_STATE, refuse_changes
from eskit.store.corruption import find_gaps, find_lost_commands
from eskit.store.port import Check, Kept, Kind, Problem, Select, Stored, StreamKey
from eskit.store.records import CommandRow, Erasure, Record, Snapshot, StreamInfo


class Rows(Found, Protocol):
    """The rows of a store while nobody else changes them."""

    def find(self, kind: type[Kind], *key: str) -> Sequence[Kind]:
        """The rows of a kind whose keys begin with `key`, sorted."""
        ...

    def of(self, stream: str, tenant: str) -> Sequence[EventRow]:
        """The events of a stream."""
        ...

    def put(self, row: Any) -> None:
        """Put a row of any kind, in the place of that with its key."""
        ...

    def drop(self, row: Any) -> None:
        """Drop the row with the key of this one."""
        ...


def keep(rows: Rows, put: Sequence[Kept], drop: Sequence[Kept]) -> bool:
    """See `Storage.keep`."""
    refuse_changes(rows.find(Record, *COPY_STATE))
    revisions = [(row, row.revision - 1) for row in put if isinstance(row, Record)]
    revisions += [(row, row.revision) for row in drop if isinstance(row, Record)]
    for record, revision in revisions:
        found = rows.find(Record, record.kind, record.key)
        if (found[0].revision if found else 0) != revision or (record in drop and not found):
            return False
    if not all(_is_of_the_log(rows, row) for row in put if isinstance(row, Snapshot)):
        return False
    for row in put:
        rows.put(row)
    for row in drop:
        rows.drop(row)
    return True


def _is_of_the_log(rows: Rows, snapshot: Snapshot) -> bool:
    key = snapshot.stream, snapshot.tenant
    place = snapshot.version, uuid_bytes(snapshot.event_id)
    erased = any((each.stream, each.tenant) == key for each in rows.find(Erasure))
    return not erased and any((row.version, row.event_id) == place for row in rows.of(*key))


def add(rows: Rows, stored: Iterable[Stored]) -> None:
    """See `View.put`."""
    for row in stored:
        if isinstance(row, EventRow):
            last = rows.last()
            position, time = (last.global_position, last.recorded_at) if last else (0, 0)
            version = len(rows.of(row.stream, row.tenant))
            check_follows(row, position=position, recorded_at=time, version=version)
            if rows.find_by_id(row.event_id):
                raise id_is_taken(row)
            for claim, taken in run_claims(row, rows.find_owner):
                (rows.put if taken else rows.drop)(claim)
        elif isinstance(row, CommandRow):
            events = rows.of(row.stream, row.tenant)
            led_to = events[row.version - 1] if 0 < row.version <= len(events) else None
            position = led_to.global_position if led_to else 0
            check_has_happened(row, version=len(events), position=position)
        elif isinstance(row, Erasure) and not rows.of(row.stream, row.tenant):
            raise StreamNotFound(row.stream)
        rows.put(row)


def check(what: Check, events: Sequence[EventRow], rows: Rows) -> Iterator[Problem]:
    """What an import may have brought; nothing else goes wrong without a disk."""
    if what is Check.VERSIONS:
        return find_gaps(events)
    if what is Check.LOST_COMMANDS:
        commands = rows.find(CommandRow)
        keys: set[StreamKey] = {(row.stream, row.tenant) for row in commands}
        return find_lost_commands(commands, {key: rows.of(*key) for key in keys})
    return iter(())


def wants(select: Select[Any], row: EventRow) -> bool:
    """Whether an event of the stream or log that is read passes the bounds and filters."""
    place = row.version if select.stream else row.global_position
    return (
        select.after < place < select.before
        and (not select.categories or category_of(row.stream) in select.categories)
        and (not select.event_types or row.event_type in select.event_types)
        and (not select.tenants or row.tenant in select.tenants)
    )


def stream_info(events: Sequence[EventRow]) -> StreamInfo:
    """A stream by its events."""
    return StreamInfo(
        stream=events[0].stream,
        tenant=events[0].tenant,
        category=category_of(events[0].stream),
        version=events[-1].version,
        first_recorded_at=from_microseconds(events[0].recorded_at),
        last_recorded_at=from_microseconds(events[-1].recorded_at),
    )
