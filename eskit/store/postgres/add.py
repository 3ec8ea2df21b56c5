"""Adding recorded rows as they are, thousands at a time: for imports and copies.

Events come by COPY into a table of the transaction and from there into the log, so that streams and
types are looked up in sets. Claims are run in Python over the owners that a page begins with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

import psycopg

from eskit.domain.events import EventRow
from eskit.domain.streams import category_of
from eskit.postgres.connection import Connection
from eskit.store.adding import (
    check_follows,
    check_has_happened,
    id_is_taken,
    read_claims,
    run_claims,
)
from eskit.store.port import StreamKey
from eskit.store.postgres.sql import query
from eskit.store.records import ClaimRow, CommandRow

_EVENTS_AT_ONCE = 10_000
_BYTES_AT_ONCE = 32 * 1024 * 1024
_ROWS_AT_ONCE = 1_000
_TYPES = (
    *("int8", "text", "text", "text", "text", "int4", "int8", "uuid"),
    *("text", "text", "bytea"),
)


def add_events(connection: Connection, rows: Iterable[EventRow]) -> None:
    """Add events after the head, inside an exclusive transaction."""
    end = _all(connection, "find_end")
    position, recorded_at = end[0] if end else (0, 0)
    waiting = iter(rows)
    while page := list(_some(waiting)):
        ends = _find_ends(connection, {(row.stream, row.tenant) for row in page})
        versions = {key: version for key, (version, _) in ends.items()}
        for row in page:
            key = row.stream, row.tenant
            version = versions.get(key, 0)
            check_follows(row, position=position, recorded_at=recorded_at, version=version)
            versions[key] = row.version
            position, recorded_at = row.global_position, row.recorded_at
        _copy(connection, page)
        _run_claims(connection, [row for row in page if row.claims is not None])


def add_commands(connection: Connection, rows: Iterable[CommandRow]) -> None:
    """Remember processed commands, inside an exclusive transaction."""
    waiting = iter(rows)
    while page := list(islice(waiting, _ROWS_AT_ONCE)):
        keys = {(row.stream, row.tenant) for row in page}
        ends = _find_ends(connection, keys)
        positions = _find_positions(connection, page)
        for row in page:
            version, _ = ends.get((row.stream, row.tenant), (0, 0))
            position = positions.get((row.stream, row.tenant, row.version), 0)
            check_has_happened(row, version=version, position=position)
        _add_streams(connection, keys)
        newest = {(row.tenant, row.id): row for row in page}  # a statement sees a key once
        connection.execute(query("save_commands"), _columns(newest.values(), 8))


def add_claims(connection: Connection, rows: Iterable[ClaimRow]) -> None:
    """Put claims in the place of those before."""
    waiting = iter(rows)
    while page := list(islice(waiting, _ROWS_AT_ONCE)):
        _save_claims(connection, {row[:3]: row.stream for row in page})


def _find_ends(
    connection: Connection, keys: Iterable[StreamKey]
) -> dict[StreamKey, tuple[int, int]]:
    """Version and position of the last event of each stream that has one."""
    found = _all(connection, "find_stream_ends", _columns(sorted(keys), 2))
    return {(name, tenant): (version, position) for name, tenant, version, position in found}


def _some(rows: Iterable[EventRow]) -> Iterable[EventRow]:
    size = 0
    for row in islice(rows, _EVENTS_AT_ONCE):
        yield row
        size += len(row.data)
        if size > _BYTES_AT_ONCE:
            return


def _copy(connection: Connection, page: Sequence[EventRow]) -> None:
    connection.execute(query("create_incoming"))
    with connection.cursor() as cursor, cursor.copy(query("copy_incoming")) as copy:
        copy.set_types(_TYPES)
        for row in page:
            copy.write_row(
                (
                    *(row.global_position, row.stream, row.tenant, category_of(row.stream)),
                    *(row.event_type, row.version, row.recorded_at, UUID(bytes=row.event_id)),
                    *(row.metadata, row.claims, row.data),
                )
            )
    connection.execute(query("add_streams"))
    connection.execute(query("add_types"))
    try:
        with connection.transaction():
            connection.execute(query("add_events"))
    except psycopg.errors.UniqueViolation as error:
        raise id_is_taken(_find_taken(connection, page)) from error
    connection.execute(query("clear_incoming"))


def _find_taken(connection: Connection, page: Sequence[EventRow]) -> EventRow:
    """The first event whose id an earlier one has; positions and versions were checked before."""
    ids = [UUID(bytes=row.event_id) for row in page]
    seen: set[bytes] = {row[0] for row in _all(connection, "find_known_ids", (ids,))}
    for row in page:
        if row.event_id in seen:
            return row
        seen.add(row.event_id)
    return page[0]


def _run_claims(connection: Connection, rows: Sequence[EventRow]) -> None:
    """Run the claims of a page in their order, and write what has become of each value."""
    keys = {(row.tenant, index, value) for row in rows for _, index, value in read_claims(row)}
    found = _all(connection, "find_owners", _columns(sorted(keys), 3)) if keys else []
    owners: dict[tuple[str, str, str], str | None] = {row[:3]: row[3] for row in found}
    changed: dict[tuple[str, str, str], str | None] = {}

    def find_owner(*key: str) -> str | None:
        return owners.get(key)  # type: ignore[arg-type]

    for row in rows:
        for claim, taken in run_claims(row, find_owner):
            owners[claim[:3]] = changed[claim[:3]] = claim.stream if taken else None
    freed = [key for key, owner in changed.items() if owner is None]
    if freed:
        connection.execute(query("free_claims"), _columns(freed, 3))
    _save_claims(connection, {key: owner for key, owner in changed.items() if owner is not None})


def _save_claims(connection: Connection, owners: Mapping[tuple[str, str, str], str]) -> None:
    if owners:
        _add_streams(connection, {(owner, key[0]) for key, owner in owners.items()})
        rows = [(*key, owner) for key, owner in owners.items()]
        connection.execute(query("save_claims"), _columns(rows, 4))


def _add_streams(connection: Connection, keys: Iterable[StreamKey]) -> None:
    rows = [(name, tenant, category_of(name)) for name, tenant in sorted(keys)]
    connection.execute(query("add_named_streams"), _columns(rows, 3))


def _find_positions(
    connection: Connection, rows: Sequence[CommandRow]
) -> dict[tuple[str, str, int], int]:
    places = sorted({(row.stream, row.tenant, row.version) for row in rows})
    found = _all(connection, "find_positions", _columns(places, 3))
    return {(name, tenant, version): position for name, tenant, version, position in found}


def _columns(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as a list for each of their columns."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def _all(connection: Connection, name: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
    with connection.cursor(binary=True) as cursor:
        return cursor.execute(query(name), parameters).fetchall()
