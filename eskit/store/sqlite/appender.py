"""One append inside an open write transaction: look, check, then write."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from eskit.domain.commands import AppendResult, Command
from eskit.store.appending import (
    Append,
    ClaimKey,
    check_version,
    claims_to_json,
    first_result,
    settle_claims,
)
from eskit.store.records import CommandRecord
from eskit.store.sqlite.queries import query


def append(
    connection: sqlite3.Connection, request: Append, *, now: int, command_ttl: int
) -> AppendResult:
    """Run one append; the transaction is the caller's.

    Every check comes before the first write, so that an append that raises an error of ours
    has changed nothing. Times are microseconds since 1970.
    """
    command = request.command
    if command is not None:
        record = find_command(connection, command.id, request.tenant, now - command_ttl)
        if record is not None:
            return first_result(request, command, record)
    place = _find_place(connection, request)
    check_version(request, place.version)
    owners = _settle_claims(connection, request)
    version, position = place.version, place.position
    if command is None and not request.events:
        return AppendResult(version=version, global_position=position)

    stream_id = place.stream_id
    if stream_id is None:
        stream_id = _insert_stream(connection, request)
    if request.events:
        version, position = _insert_events(connection, request, stream_id, place, now)
        if owners:
            _save_claims(connection, request.tenant, owners, stream_id)
    if command is None:
        return AppendResult(version=version, global_position=position)
    _save_command(connection, request, command, (stream_id, version, position, now))
    return AppendResult(version=version, global_position=position, response=command.response)


def find_stored(connection: sqlite3.Connection, request: Append) -> AppendResult | None:
    """What an append has done if it was committed although its commit failed."""
    if not request.events:
        return None
    last = request.events[-1].event_id
    row = connection.execute(
        query("find_stored"), (request.stream, request.tenant, last)
    ).fetchone()
    if row is None:
        return None
    version, position = row
    response = b"" if request.command is None else request.command.response
    return AppendResult(version=version, global_position=position, response=response)


def find_command(
    connection: sqlite3.Connection, command_id: str, tenant: str, not_before: int
) -> CommandRecord | None:
    """The record of a command, unless it was made before `not_before`."""
    row = connection.execute(query("find_command"), (tenant, command_id, not_before)).fetchone()
    if row is None:
        return None
    fingerprint, stream, version, position, response = row
    return CommandRecord(
        id=command_id,
        fingerprint=fingerprint,
        stream=stream,
        version=version,
        global_position=position,
        response=response,
    )


def find_claim(connection: sqlite3.Connection, tenant: str, index: str, value: str) -> str | None:
    """The stream that holds a value."""
    row = connection.execute(query("find_claim"), (tenant, index, value)).fetchone()
    return None if row is None else str(row[0])


class _Place(NamedTuple):
    """Where an append goes: everything it has to know of the log."""

    stream_id: int | None
    version: int
    position: int
    head: int
    head_recorded_at: int
    kind_id: int | None
    """Of the first event."""


def _find_place(connection: sqlite3.Connection, request: Append) -> _Place:
    first_type = request.events[0].event_type if request.events else ""
    parameters = (request.stream, request.tenant, request.category, first_type)
    stream_id, version, position, head, head_recorded_at, kind_id = connection.execute(
        query("find_place"), parameters
    ).fetchone()
    return _Place(stream_id, version or 0, position or 0, head or 0, head_recorded_at or 0, kind_id)


def _settle_claims(connection: sqlite3.Connection, request: Append) -> dict[ClaimKey, str | None]:
    return settle_claims(
        request, lambda index, value: find_claim(connection, request.tenant, index, value)
    )


def _insert_stream(connection: sqlite3.Connection, request: Append) -> int:
    parameters = (request.stream, request.tenant, request.category)
    return _inserted_key(connection.execute(query("insert_stream"), parameters))


def _insert_events(
    connection: sqlite3.Connection, request: Append, stream_id: int, place: _Place, now: int
) -> tuple[int, int]:
    version, position = place.version, place.head
    recorded_at = max(now, place.head_recorded_at)
    kinds = {} if place.kind_id is None else {request.events[0].event_type: place.kind_id}
    rows = []
    for event_id, event_type, metadata, claims, data in request.events:
        kind_id = kinds.get(event_type)
        if kind_id is None:
            kinds[event_type] = kind_id = _kind(connection, request.category, event_type)
        position += 1
        version += 1
        kept = claims_to_json(claims) if claims else None
        rows.append(
            (position, stream_id, version, kind_id, event_id, recorded_at, metadata, kept, data)
        )
    if len(rows) == 1:
        connection.execute(query("insert_event"), rows[0])
    else:
        connection.executemany(query("insert_event"), rows)
    return version, position


def _kind(connection: sqlite3.Connection, category: str, event_type: str) -> int:
    row = connection.execute(query("find_kind"), (category, event_type)).fetchone()
    if row is not None:
        return int(row[0])
    return _inserted_key(connection.execute(query("insert_kind"), (category, event_type)))


def _inserted_key(cursor: sqlite3.Cursor) -> int:
    key: int = cursor.fetchall()[0][0]
    return key


def _save_claims(
    connection: sqlite3.Connection,
    tenant: str,
    owners: dict[ClaimKey, str | None],
    stream_id: int,
) -> None:
    for (index, value), owner in owners.items():
        if owner is None:
            connection.execute(query("delete_claim"), (tenant, index, value))
        else:
            connection.execute(query("save_claim"), (tenant, index, value, stream_id))


def _save_command(
    connection: sqlite3.Connection,
    request: Append,
    command: Command,
    outcome: tuple[int, int, int, int],
) -> None:
    parameters = (request.tenant, command.id, command.fingerprint, *outcome, command.response)
    connection.execute(query("save_command"), parameters)
