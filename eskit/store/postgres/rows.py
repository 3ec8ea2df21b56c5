"""What is kept beside the events, kind by kind: where it lies, its keys, and how a row is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from psycopg import sql

from eskit.domain.ids import uuid_text
from eskit.domain.time import from_microseconds
from eskit.schema.recorded import EventSchema
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


class Table(NamedTuple):
    """A kind of rows: what to select from where, its keys in order, and how a row is made.

    `keys` are expressions that rows are found and sorted by; `stream` and `tenant` those of the
    stream that a row belongs to, where it does.
    """

    columns: str
    source: str
    keys: Sequence[str]
    make: Callable[..., Any]
    stream: bool = False

    def statement(self, *, key: int = 0, streams: bool = False) -> sql.Composed:
        """All rows, or those whose first `key` keys are given, or of the streams given."""
        conditions = [sql.SQL(f"{name} = %s") for name in self.keys[:key]]
        if streams:
            conditions.append(
                sql.SQL("(s.name, s.tenant) IN (SELECT * FROM unnest(%s::text[], %s::text[]))")
            )
        return sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {}").format(
            sql.SQL(self.columns),
            sql.SQL(self.source),
            sql.SQL(" AND ").join(conditions) if conditions else sql.SQL("true"),
            sql.SQL(", ").join(map(sql.SQL, self.keys)),
        )


def _checkpoint(name: str, store_id: str, position: int, event_id: str, time: int) -> Checkpoint:
    return Checkpoint(
        name=name,
        store_id=store_id,
        position=position,
        event_id=event_id,
        updated_at=from_microseconds(time),
    )


def _record(kind: str, key: str, value: str, revision: int, time: int) -> Record:
    return Record(
        kind=kind, key=key, value=value, revision=revision, updated_at=from_microseconds(time)
    )


def _schema(event_type: str, schema_id: str, files: bytes, first_position: int) -> EventSchema:
    return EventSchema(
        event_type=event_type, schema_id=schema_id, files=files, first_position=first_position
    )


def _erasure(
    stream: str, tenant: str, version: int, events: int, time: int, erased_by: str, reason: str
) -> Erasure:
    return Erasure(
        stream=stream,
        tenant=tenant,
        version=version,
        events=events,
        erased_at=from_microseconds(time),
        erased_by=erased_by,
        reason=reason,
    )


def _snapshot(
    stream: str,
    tenant: str,
    version: int,
    event_id: bytes,
    schema: str,
    fold_version: int,
    time: int,
    checksum: str,
    state: bytes,
) -> Snapshot:
    return Snapshot(
        stream=stream,
        tenant=tenant,
        version=version,
        event_id=uuid_text(event_id),
        schema=schema,
        fold_version=fold_version,
        created_at=from_microseconds(time),
        checksum=checksum,
        state=state,
    )


def stream_info(
    stream: str, tenant: str, category: str, version: int, first: int, last: int
) -> StreamInfo:
    """A row of a listing of streams."""
    return StreamInfo(
        stream=stream,
        tenant=tenant,
        category=category,
        version=version,
        first_recorded_at=from_microseconds(first),
        last_recorded_at=from_microseconds(last),
    )


_STREAMS_WITH_EVENTS = """streams s
    CROSS JOIN LATERAL (
        SELECT recorded_at FROM events e WHERE e.stream_id = s.stream_id ORDER BY version LIMIT 1
    ) f
    CROSS JOIN LATERAL (
        SELECT version, recorded_at FROM events e
        WHERE e.stream_id = s.stream_id ORDER BY version DESC LIMIT 1
    ) l"""

TABLES: Mapping[type, Table] = {
    Checkpoint: Table(
        "name, store_id, position, event_id, updated_at", "checkpoints", ("name",), _checkpoint
    ),
    ClaimRow: Table(
        "c.tenant, c.index_name, c.value, s.name",
        "claims c JOIN streams s USING (stream_id)",
        ("c.tenant", "c.index_name", 'c.value COLLATE "C"'),
        ClaimRow,
        stream=True,
    ),
    CommandRow: Table(
        "c.tenant, c.command_id, c.fingerprint, s.name, c.version, c.global_position,"
        " c.recorded_at, c.response",
        "commands c JOIN streams s USING (stream_id)",
        ("c.tenant", "c.command_id"),
        CommandRow,
        stream=True,
    ),
    Erasure: Table(
        "s.name, s.tenant, r.version, r.events, r.erased_at, r.erased_by, r.reason",
        "erasures r JOIN streams s USING (stream_id)",
        ("r.erased_at", "s.name", "s.tenant"),
        _erasure,
        stream=True,
    ),
    EventSchema: Table(
        "k.event_type, k.schema_id, h.files, k.first_position",
        "event_schemas k JOIN schemas h USING (schema_id)",
        ("k.first_position", "k.event_type"),
        _schema,
    ),
    EventType: Table(
        "event_type", "(SELECT DISTINCT event_type FROM event_types) t", ("event_type",), EventType
    ),
    Record: Table("kind, key, value, revision, updated_at", "records", ("kind", "key"), _record),
    Snapshot: Table(
        "s.name, s.tenant, n.version, n.event_id, n.state_schema, n.fold_version, n.created_at,"
        " n.checksum, n.state",
        "snapshots n JOIN streams s USING (stream_id)",
        ("s.name", "s.tenant", "n.version"),
        _snapshot,
        stream=True,
    ),
    StreamInfo: Table(
        "s.name, s.tenant, s.category, l.version, f.recorded_at, l.recorded_at",
        _STREAMS_WITH_EVENTS,
        ("s.name", "s.tenant"),
        stream_info,
        stream=True,
    ),
}
