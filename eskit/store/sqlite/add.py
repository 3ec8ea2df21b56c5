"""Adding recorded events as they are, for an import."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from eskit.domain.events import EventRow
from eskit.domain.streams import category_of
from eskit.domain.time import to_microseconds
from eskit.errors import StreamNotFound
from eskit.store.adding import check_follows, check_has_happened, id_is_taken, run_claims
from eskit.store.records import CommandRow, Erasure
from eskit.store.sqlite.appender import find_claim
from eskit.store.sqlite.checksums import command_checksum, event_checksum, kind_checksum
from eskit.store.sqlite.ids import keep_id, tells_time
from eskit.store.sqlite.keys import add_stream, kind_key
from eskit.store.sqlite.queries import query


def add_events(connection: sqlite3.Connection, records: Iterable[EventRow]) -> None:
    """Add events after the head, inside an open write transaction."""
    head = connection.execute(query("find_head")).fetchone()
    position, recorded_at = head or (0, 0)
    streams: dict[tuple[str, str], tuple[int, int]] = {}
    kinds: dict[tuple[str, str], int] = {}
    for record in records:
        key = record.stream, record.tenant
        stream_id, version = streams.get(key) or _stream(connection, *key)
        check_follows(record, position=position, recorded_at=recorded_at, version=version)
        kind = category_of(record.stream), record.event_type
        kind_id = kinds[kind] = kinds.get(kind) or kind_key(connection, *kind)
        connection.execute(
            query("insert_event"),
            (
                record.global_position,
                stream_id,
                record.version,
                kind_id,
                record.event_id,
                record.recorded_at,
                record.metadata,
                record.claims,
                record.data,
                _checksum(record),
            ),
        )
        if not tells_time(record.event_id, record.recorded_at):
            if connection.execute(query("find_event_id"), (record.event_id,)).fetchone():
                raise id_is_taken(record)
            keep_id(connection, record.event_id, record.global_position)
        if record.claims:
            _run_claims(connection, record, stream_id)
        streams[key] = stream_id, record.version
        position, recorded_at = record.global_position, record.recorded_at


def add_commands(connection: sqlite3.Connection, commands: Iterable[CommandRow]) -> None:
    """Remember processed commands, inside an open write transaction."""
    for command in commands:
        stream_id, version = _stream(connection, command.stream, command.tenant)
        key = stream_id, command.version
        row = connection.execute(query("find_position"), key).fetchone() or (0,)
        check_has_happened(command, version=version, position=row[0])
        connection.execute(
            query("save_command"),
            (
                command.tenant,
                command.id,
                command.fingerprint,
                stream_id,
                command.version,
                command.global_position,
                command.recorded_at,
                command.response,
                command_checksum(
                    command.tenant.encode(),
                    command.id.encode(),
                    command.fingerprint.encode(),
                    command.stream.encode(),
                    command.version,
                    command.global_position,
                    command.recorded_at,
                    command.response,
                ),
            ),
        )


def add_erasures(connection: sqlite3.Connection, erasures: Iterable[Erasure]) -> None:
    """Add audit records, inside an open write transaction."""
    for erasure in erasures:
        stream_id, version = _stream(connection, erasure.stream, erasure.tenant)
        if not version:
            raise StreamNotFound(erasure.stream)
        erased_at = to_microseconds(erasure.erased_at)
        row = (
            stream_id,
            erasure.version,
            erasure.events,
            erased_at,
            erasure.erased_by,
            erasure.reason,
        )
        connection.execute(query("save_erasure"), row)


def _checksum(record: EventRow) -> int:
    kind = kind_checksum(record.tenant, record.stream, record.event_type)
    return event_checksum(
        kind,
        record.global_position,
        record.version,
        record.recorded_at,
        record.event_id,
        f"{record.metadata}{record.claims or ''}".encode(),
        record.data,
    )


def _stream(connection: sqlite3.Connection, stream: str, tenant: str) -> tuple[int, int]:
    row = connection.execute(query("find_stream"), (stream, tenant)).fetchone()
    if row is not None:
        return row[0], row[1] or 0
    return add_stream(connection, stream, tenant, category_of(stream)), 0


def _run_claims(connection: sqlite3.Connection, record: EventRow, stream_id: int) -> None:
    def find_owner(tenant: str, index: str, value: str) -> str | None:
        return find_claim(connection, tenant, index, value)

    for claim, taken in run_claims(record, find_owner):
        if taken:
            connection.execute(query("save_claim"), (*claim[:3], stream_id))
        else:
            connection.execute(query("delete_claim"), claim[:3])
