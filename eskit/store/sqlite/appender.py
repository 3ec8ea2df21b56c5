"""One append inside an open write transaction: look, check, then write."""

from __future__ import annotations

import sqlite3

from eskit.domain.commands import AppendResult, Command
from eskit.domain.streams import NO_STREAM
from eskit.sqlite.connections import Runs
from eskit.store.appending import (
    Append,
    ClaimKey,
    check_version,
    claims_to_json,
    first_append,
    first_result,
    settle_claims,
)
from eskit.store.records import CommandRow
from eskit.store.sqlite.append_cache import StreamEnd
from eskit.store.sqlite.checksums import command_checksum, event_checksum, kind_checksum
from eskit.store.sqlite.ids import NEAR, find_event, keep_id, tells_time
from eskit.store.sqlite.keys import add_if_new, add_stream
from eskit.store.sqlite.queries import query
from eskit.store.sqlite.transaction import Transaction

_NEW = (0, NO_STREAM)
_NO_STREAM: StreamEnd = (0, 0, 0)


def append(transaction: Transaction, request: Append, *, now: int) -> AppendResult:
    """Run one append; the transaction is the caller's.

    Every check comes before the first write, so that an append that raises an error of ours
    has changed nothing. Times are microseconds since 1970.
    """
    cursor, command = transaction.beside_events, request.command
    if command is not None:
        record = find_command(cursor, command.id, request.tenant)
        if record is not None:
            return first_result(request, command, record)
    if request.given_ids and (first := _find_first_append(transaction, request)):
        return first
    transaction.tip.check_open(cursor)
    stream_id, version, position = _find_stream(transaction, request) or _NO_STREAM
    check_version(request, version)
    owners = _settle_claims(cursor, request) if request.claims else {}
    if command is None and not request.events:
        return AppendResult(version, position)

    if not stream_id:
        stream_id = add_stream(cursor, request.stream, request.tenant, request.category)
    if request.events:
        version, position = _insert_events(transaction, request, (stream_id, version), now)
        if owners:
            _save_claims(cursor, request.tenant, owners, stream_id)
    if command is None:
        return AppendResult(version, position)
    # Never before the log, however wrong the clock is: a command is forgotten by its age.
    _, head_recorded_at = transaction.tip.head(cursor)
    _save_command(
        cursor, request, command, (stream_id, version, position, max(now, head_recorded_at))
    )
    return AppendResult(version, position, response=command.response)


def _find_stream(transaction: Transaction, request: Append) -> StreamEnd | None:
    """The end of the stream, None if there never was one of this name.

    Where a new one is expected it is made if it is not there, which answers the same question
    with one statement instead of two. Nothing is left to check then, unless there are claims.
    """
    cursor, stream, tenant = transaction.beside_events, request.stream, request.tenant
    end = transaction.tip.known_stream(stream, tenant)
    if end is not None:
        return end
    if request.expected_version in _NEW and request.events and not request.claims:
        stream_id = add_if_new(cursor, stream, tenant, request.category)
        if stream_id is not None:
            return stream_id, 0, 0
    return transaction.tip.stream(cursor, stream, tenant)


def _find_first_append(transaction: Transaction, request: Append) -> AppendResult | None:
    """What an append of the same events was answered with, if there was one."""
    cursor = transaction.cursor  # others of this transaction may have appended them
    head = transaction.tip.head(cursor)
    return first_append(request, lambda event_id: find_event(cursor, event_id, head))


def find_stored(cursor: sqlite3.Cursor, request: Append) -> AppendResult | None:
    """What an append has done if it was committed although its commit failed."""
    if not request.events:
        return None
    key = request.stream, request.tenant, request.events[-1].id_bytes
    row = cursor.execute(query("find_stored"), key).fetchone()
    if row is None:
        return None
    version, position = row
    response = b"" if request.command is None else request.command.response
    return AppendResult(version=version, global_position=position, response=response)


def find_command(database: Runs, command_id: str, tenant: str) -> CommandRow | None:
    """The record of a command."""
    row = database.execute(query("find_command"), (tenant, command_id)).fetchone()
    return None if row is None else CommandRow(tenant, command_id, *row)


def find_claim(database: Runs, tenant: str, index: str, value: str) -> str | None:
    """The stream that holds a value."""
    row = database.execute(query("find_claim"), (tenant, index, value)).fetchone()
    return None if row is None else str(row[0])


def _settle_claims(cursor: sqlite3.Cursor, request: Append) -> dict[ClaimKey, str | None]:
    return settle_claims(
        request, lambda index, value: find_claim(cursor, request.tenant, index, value)
    )


def _insert_events(
    transaction: Transaction, request: Append, end: tuple[int, int], now: int
) -> tuple[int, int]:
    """Version and position of the last; `end` is the stream's key and version before them."""
    cursor, tip = transaction.beside_events, transaction.tip
    stream_id, version = end
    position, head_recorded_at = tip.head(cursor)
    recorded_at = max(head_recorded_at, now)
    category, rows = request.category, transaction.rows
    last_type, kind_id, kind_sum = "", 0, 0
    for event in request.events:
        event_id, event_type, data = event.known_id, event.event_type, event.data
        metadata, claims = event.metadata_json, event.claims
        position += 1
        version += 1
        if event_type != last_type:  # most events of an append are of one type
            kind_id = tip.kind(cursor, category, event_type)
            kind_sum = kind_checksum(request.tenant, request.stream, event_type)
            last_type = event_type
        claims_json = claims_to_json(claims) if claims else None
        rest = f"{metadata}{claims_json or ''}".encode() if metadata or claims else b""
        rows.append(
            (
                position,
                stream_id,
                version,
                kind_id,
                event_id,
                recorded_at,
                metadata,
                claims_json,
                data,
                event_checksum(kind_sum, position, version, recorded_at, event_id, rest, data),
            )
        )
    now = recorded_at // 1000
    if (
        request.given_ids
        or int.from_bytes(event_id[:6], "big") > now + NEAR
        # Own ids grow within an append: where the first and the last are near, all are.
        or int.from_bytes(request.events[0].known_id[:6], "big") < now - NEAR
    ):
        _keep_ids(cursor, request, position, recorded_at)
    tip.advance(request.stream, request.tenant, (stream_id, version, position), recorded_at)
    return version, position


def _keep_ids(cursor: sqlite3.Cursor, request: Append, last: int, recorded_at: int) -> None:
    first = last - len(request.events) + 1
    for position, event in enumerate(request.events, start=first):
        if not tells_time(event.known_id, recorded_at):
            keep_id(cursor, event.known_id, position)


def _save_claims(
    cursor: sqlite3.Cursor,
    tenant: str,
    owners: dict[ClaimKey, str | None],
    stream_id: int,
) -> None:
    for (index, value), owner in owners.items():
        if owner is None:
            cursor.execute(query("delete_claim"), (tenant, index, value))
        else:
            cursor.execute(query("save_claim"), (tenant, index, value, stream_id))


def _save_command(
    cursor: sqlite3.Cursor,
    request: Append,
    command: Command,
    outcome: tuple[int, int, int, int],
) -> None:
    key = request.tenant, command.id, command.fingerprint
    _, version, position, recorded_at = outcome
    checksum = command_checksum(
        request.tenant.encode(),
        command.id.encode(),
        command.fingerprint.encode(),
        request.stream.encode(),
        version,
        position,
        recorded_at,
        command.response,
    )
    cursor.execute(query("save_command"), (*key, *outcome, command.response, checksum))
