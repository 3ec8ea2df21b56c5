"""Rows beside the log: how they are found, and how those that followers leave are changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from eskit.domain.ids import uuid_bytes
from eskit.domain.time import EPOCH, from_microseconds, to_microseconds
from eskit.errors import StoreDamaged
from eskit.schema.recorded import EventSchema
from eskit.sqlite.connections import Runs
from eskit.store.port import Kept, Kind
from eskit.store.records import (
    Checkpoint,
    ClaimRow,
    CommandRow,
    Erasure,
    EventType,
    Record,
    Snapshot,
    StreamInfo,
)
from eskit.store.sqlite.queries import query
from eskit.store.sqlite.transaction import Transaction

Changes: TypeAlias = tuple[Sequence[Kept], Sequence[Kept]]
"""Rows to put, and rows to drop."""

_QUERIES = {
    (Checkpoint, 0): "list_checkpoints",
    (Checkpoint, 1): "find_checkpoint",
    (ClaimRow, 3): "find_claim",
    (CommandRow, 2): "find_command",
    (Erasure, 0): "list_erasures",
    (EventSchema, 0): "list_schemas",
    (EventType, 0): "list_event_types",
    (Record, 0): "list_all_records",
    (Record, 1): "list_records",
    (Record, 2): "find_record",
    (Snapshot, 0): "list_snapshots",
    (Snapshot, 2): "find_snapshots",
    (StreamInfo, 2): "find_stream_info",
}
"""By kind, and how much of its key is given."""


def find_rows(
    connection: sqlite3.Connection, url: str, kind: type[Kind], key: Sequence[str]
) -> Iterator[Kind]:
    """The rows of a kind whose keys begin with `key`."""
    rows = connection.execute(query(_QUERIES[kind, len(key)]), tuple(key))
    return make_rows(rows, url, kind, key)


def make_rows(
    rows: Iterable[tuple[Any, ...]], url: str, kind: type[Kind], key: Sequence[str] = ()
) -> Iterator[Kind]:
    """Rows of a kind from those that its query has found."""
    make = _MAKERS[kind]
    return (make(url, key, row) for row in rows)


class Refused(Exception):
    """A row cannot be changed like that."""


def keep(transaction: Transaction, changes: Changes) -> bool:
    """Put and drop rows inside the writer's transaction; Refused where one cannot be changed."""
    put, drop = changes
    transaction.tip.check_open(transaction.beside_events)
    # A snapshot is put beside an event, which may be one of this transaction.
    if any(isinstance(row, Snapshot) for row in put):
        transaction.finish()
    cursor = transaction.beside_events
    for row in put:
        if not _PUT[type(row)](cursor, row):
            raise Refused
    for row in drop:
        if not _DROP[type(row)](cursor, row):
            raise Refused
    if not put and not drop:
        # It is the number that stands there, but it is written to disk all the same.
        (number,) = transaction.cursor.execute("PRAGMA user_version").fetchone()
        transaction.cursor.execute(f"PRAGMA user_version = {number}")
    return True


def find_kept(transaction: Transaction, changes: Changes) -> bool | None:
    """Whether records are as an earlier try would have left them; None if not, or without any.

    Whatever else is kept comes to the same when it is done twice.
    """
    put, drop = ([row for row in rows if isinstance(row, Record)] for rows in changes)
    if not put and not drop:
        return None
    wanted = [(row.value, row.revision) for row in put] + [None for _ in drop]
    found = [
        transaction.cursor.execute(query("find_record"), (row.kind, row.key)).fetchone()
        for row in (*put, *drop)
    ]
    return True if wanted == [row and row[2:4] for row in found] else None


def save_schemas(database: Runs, schemas: Iterable[EventSchema]) -> None:
    """Keep each schema that differs from what its type had before that position."""
    for schema in schemas:
        database.execute(query("insert_schema"), (schema.schema_id, schema.files))
        key = schema.event_type, schema.first_position
        database.execute(query("insert_event_schema"), (*key, schema.schema_id))


def add_checkpoints(database: Runs, rows: Iterable[Checkpoint]) -> None:
    """Put checkpoints in the place of those before."""
    for row in rows:
        _put_checkpoint(database, row)


def add_records(database: Runs, rows: Iterable[Record]) -> None:
    """Put records as they are, whatever revision they have."""
    for row in rows:
        time = to_microseconds(row.updated_at)
        values = row.kind, row.key, row.value, time, row.revision
        database.execute(query("save_record"), values)


def moment(microseconds: int, url: str) -> datetime:
    """The time that is kept in the store at `url`; StoreDamaged for what cannot be one."""
    try:
        return from_microseconds(microseconds)
    except (OverflowError, TypeError) as error:
        raise StoreDamaged(f"{url} is damaged: {microseconds!r} is kept as a time") from error


def _put_checkpoint(database: Runs, row: Checkpoint) -> bool:
    place = row.name, row.store_id, row.position, row.event_id
    parameters = *place, to_microseconds(row.updated_at)
    database.execute(query("save_checkpoint"), parameters)
    return True


def _put_record(database: Runs, row: Record) -> bool:
    parameters = row.kind, row.key, row.value, to_microseconds(row.updated_at)
    before = row.revision - 1
    if before:
        return database.execute(query("update_record"), (*parameters, before)).rowcount > 0
    return database.execute(query("insert_record"), parameters).rowcount > 0


def drop_record(database: Runs, row: Record) -> bool:
    """Drop a record that has the revision of this one; whether there was one."""
    parameters = row.kind, row.key, row.revision
    return database.execute(query("delete_record"), parameters).rowcount > 0


def _put_snapshot(database: Runs, row: Snapshot) -> bool:
    parameters = (
        row.stream,
        row.tenant,
        row.version,
        uuid_bytes(row.event_id),
        row.schema,
        row.fold_version,
        to_microseconds(row.created_at),
        row.checksum,
        row.state,
    )
    return database.execute(query("save_snapshot"), parameters).rowcount > 0


def _drop_snapshot(database: Runs, row: Snapshot) -> bool:
    parameters = row.stream, row.tenant, row.version, row.readable
    database.execute(query("delete_snapshot"), parameters)
    return True


_PUT: dict[type, Callable[[Runs, Any], bool]] = {
    Checkpoint: _put_checkpoint,
    Record: _put_record,
    Snapshot: _put_snapshot,
}
_DROP: dict[type, Callable[[Runs, Any], bool]] = {
    Record: drop_record,
    Snapshot: _drop_snapshot,
}


def _checkpoint(url: str, _key: Sequence[str], row: tuple[Any, ...]) -> Checkpoint:
    name, store_id, position, event_id, updated_at = row
    return Checkpoint(
        name=name,
        store_id=store_id,
        position=position,
        event_id=event_id,
        updated_at=moment(updated_at, url),
    )


def _record(url: str, _key: Sequence[str], row: tuple[Any, ...]) -> Record:
    kind, key, value, revision, updated_at = row
    return Record(
        kind=kind, key=key, value=value, revision=revision, updated_at=moment(updated_at, url)
    )


def _erasure(url: str, _key: Sequence[str], row: tuple[Any, ...]) -> Erasure:
    stream, tenant, version, events, erased_at, erased_by, reason = row
    return Erasure(
        stream=stream,
        tenant=tenant,
        version=version,
        events=events,
        erased_at=moment(erased_at, url),
        erased_by=erased_by,
        reason=reason,
    )


def _schema(_url: str, _key: Sequence[str], row: tuple[Any, ...]) -> EventSchema:
    event_type, schema_id, files, first_position = row
    return EventSchema(
        event_type=event_type, schema_id=schema_id, files=files, first_position=first_position
    )


def _stream_info(url: str, _key: Sequence[str], row: tuple[Any, ...]) -> StreamInfo:
    stream, tenant, category, version, first, last = row
    return StreamInfo(
        stream=stream,
        tenant=tenant,
        category=category,
        version=version,
        first_recorded_at=moment(first, url),
        last_recorded_at=moment(last, url),
    )


def _snapshot(_url: str, _key: Sequence[str], row: tuple[Any, ...]) -> Snapshot:
    stream, tenant, version, event_id, schema, fold_version, created_at, checksum, state, whole = (
        row
    )
    if not whole:
        return Snapshot(
            stream=stream,
            tenant=tenant,
            version=version if isinstance(version, int) else 0,
            event_id="",
            schema="",
            fold_version=0,
            created_at=EPOCH,
            checksum="",
            state=b"",
            readable=False,
        )
    return Snapshot(
        stream=stream,
        tenant=tenant,
        version=version,
        event_id=str(UUID(bytes=event_id)),
        schema=schema.decode(errors="replace"),
        fold_version=fold_version,
        created_at=from_microseconds(created_at),
        checksum=checksum.decode(errors="replace"),
        state=state,
    )


_MAKERS: dict[type, Callable[[str, Sequence[str], tuple[Any, ...]], Any]] = {
    Checkpoint: _checkpoint,
    ClaimRow: lambda _url, key, row: ClaimRow._make((*key, *row)),
    CommandRow: lambda _url, key, row: CommandRow._make((*key, *row)),
    Erasure: _erasure,
    EventSchema: _schema,
    EventType: lambda _url, _key, row: EventType(*row),
    Record: _record,
    Snapshot: _snapshot,
    StreamInfo: _stream_info,
}
"""By kind, how a row is made of the store's URL, the key that was asked for, and what was found."""
