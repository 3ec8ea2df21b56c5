"""Events by selections, without joins: streams and types are looked up once and remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql

from eskit.domain.events import EventRow, FoldRow, LogRow, is_erased
from eskit.postgres.connection import Connection
from eskit.store.port import Select, Shape, StreamKey
from eskit.store.postgres.sql import query

_REMEMBERED = 10_000
_COLUMNS: dict[type, sql.SQL] = {
    EventRow: sql.SQL(
        "e.global_position, e.stream_id, e.version, e.event_id, e.type_id, e.recorded_at,"
        " e.metadata, e.data, e.claims"
    ),
    FoldRow: sql.SQL("e.version, e.type_id, e.recorded_at, e.metadata, e.data"),
    LogRow: sql.SQL("e.global_position, e.event_id, e.type_id, e.data, e.metadata"),
}


class Names:
    """The streams and event types that rows name by number; those never change."""

    def __init__(self) -> None:
        self._types: dict[int, str] = {}
        self._streams: OrderedDict[int, StreamKey] = OrderedDict()

    def types(self, connection: Connection, keys: Iterable[int]) -> dict[int, str]:
        """Event types by number."""
        missing = set(keys) - self._types.keys()
        if missing:
            rows = connection.execute(query("find_types_by_key"), (list(missing),)).fetchall()
            self._types |= dict(rows)
        return self._types

    def streams(self, connection: Connection, keys: Iterable[int]) -> dict[int, StreamKey]:
        """Names and tenants of streams by number."""
        wanted = set(keys)
        found = {key: name for key in wanted if (name := self._streams.get(key)) is not None}
        missing = wanted - found.keys()
        if missing:
            rows = connection.execute(query("find_streams_by_key"), (list(missing),)).fetchall()
            new = {key: (name, tenant) for key, name, tenant in rows}
            found |= new
            self._streams.update(new)
            while len(self._streams) > _REMEMBERED:
                self._streams.popitem(last=False)
        return found


def read(connection: Connection, names: Names, select: Select[Shape], size: int) -> Sequence[Shape]:
    """The first `size` events of a selection, as rows of its shape."""
    statement, parameters = _statement(select, size)
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(statement, parameters).fetchall()
    return shaped(connection, names, select.shape, rows)


def shaped(
    connection: Connection, names: Names, shape: type[Any], rows: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Rows of `columns` in a shape."""
    if shape is FoldRow:
        types = names.types(connection, (row[1] for row in rows))
        return [
            FoldRow(version, types[key], time, metadata, data)
            for version, key, time, metadata, data in rows
        ]
    if shape is LogRow:
        types = names.types(connection, (row[2] for row in rows))
        return [
            LogRow(
                position,
                event_id,
                types[key],
                None if not data and is_erased(metadata) else data,
            )
            for position, event_id, key, data, metadata in rows
        ]
    types = names.types(connection, (row[4] for row in rows))
    streams = names.streams(connection, (row[1] for row in rows))
    made = []
    for position, stream, version, event_id, key, time, metadata, data, claims in rows:
        name, tenant = streams[stream]
        made.append(
            EventRow(
                position, name, version, event_id, types[key], time, tenant, metadata, data, claims
            )
        )
    return made


def columns(shape: type[Any]) -> sql.SQL:
    """The columns of `events`, called e, that a shape is made of."""
    return _COLUMNS[shape]


def _statement(select: Select[Any], size: int) -> tuple[sql.Composed, dict[str, Any]]:
    parameters: dict[str, Any] = {"after": select.after, "before": select.before, "size": size}
    direction = sql.SQL("DESC" if select.backward else "ASC")
    place = sql.SQL("e.version" if select.stream else "e.global_position")
    bounds = sql.SQL("{place} > %(after)s AND {place} < %(before)s").format(place=place)
    if select.stream:
        parameters |= {"stream": select.stream, "tenant": select.tenant}
        bounds += sql.SQL(
            " AND e.stream_id ="
            " (SELECT stream_id FROM streams WHERE name = %(stream)s AND tenant = %(tenant)s)"
        )
    if select.tenants:
        parameters["tenants"] = list(select.tenants)
        bounds += sql.SQL(
            " AND e.stream_id IN (SELECT stream_id FROM streams WHERE tenant = ANY (%(tenants)s))"
        )
    tail = sql.SQL(" ORDER BY {place} {direction} LIMIT %(size)s").format(
        place=place, direction=direction
    )
    head = sql.SQL("SELECT {} FROM events e WHERE ").format(_COLUMNS[select.shape])
    if not (select.categories or select.event_types):
        return sql.Composed([head, bounds, tail]), parameters
    # One branch for each type, so that a rare one is found by its index and need not be looked
    # for in the whole log.
    types: sql.Composable = sql.SQL("true")
    if select.categories:
        parameters["categories"] = list(select.categories)
        types += sql.SQL(" AND category = ANY (%(categories)s)")
    if select.event_types:
        parameters["types"] = list(select.event_types)
        types += sql.SQL(" AND event_type = ANY (%(types)s)")
    statement = sql.SQL(
        "SELECT {columns} FROM (SELECT type_id FROM event_types WHERE {types}) k CROSS JOIN LATERAL"
        " (SELECT * FROM events e WHERE e.type_id = k.type_id AND {bounds}{tail}) e{tail}"
    ).format(columns=_COLUMNS[select.shape], types=types, bounds=bounds, tail=tail)
    return statement, parameters
