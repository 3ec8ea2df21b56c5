"""Events by selections, without joins: streams and types are looked up once and remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

from psycopg import sql

from eskit.domain.events import EventRow, FoldRow, LogRow, is_erased
from eskit.postgres.connection import Connection
from eskit.store.port import PAGE_BYTES, Select, Shape, StreamKey
from eskit.store.postgres.sql import query

_REMEMBERED = 10_000
# The class itself would be called by way of a function in Python, for every row.
_EVENT_ROW = partial(tuple.__new__, EventRow)
_FOLD_ROW = partial(tuple.__new__, FoldRow)
_LOG_ROW = partial(tuple.__new__, LogRow)
_COLUMNS: dict[type, sql.SQL] = {
    EventRow: sql.SQL(
        "e.global_position, e.stream_id, e.version, e.event_id, e.type_id, e.recorded_at,"
        " e.metadata, e.data, e.claims"
    ),
    FoldRow: sql.SQL("e.version, t.event_type, e.recorded_at, e.metadata, e.data"),
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
    if select.shape is FoldRow:  # as it comes: with the types joined to a stream, which is short
        with connection.cursor(binary=True, row_factory=lambda _: _FOLD_ROW) as folded:
            return folded.execute(statement, parameters).fetchall()
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(statement, parameters).fetchall()
    return shaped(connection, names, select.shape, rows)


def shaped(
    connection: Connection, names: Names, shape: type[Any], rows: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Rows of `columns` in a shape."""
    if shape is LogRow:
        types = names.types(connection, (row[2] for row in rows))
        return [
            _LOG_ROW(
                (
                    position,
                    event_id,
                    types[key],
                    None if not data and is_erased(metadata) else data,
                )
            )
            for position, event_id, key, data, metadata in rows
        ]
    types = names.types(connection, (row[4] for row in rows))
    streams = names.streams(connection, (row[1] for row in rows))
    made = []
    for position, stream, version, event_id, key, time, metadata, data, claims in rows:
        name, tenant = streams[stream]
        kind = types[key]
        made.append(
            _EVENT_ROW(
                (position, name, version, event_id, kind, time, tenant, metadata, data, claims)
            )
        )
    return made


def columns(shape: type[Any]) -> sql.SQL:
    """The columns of `events`, called e, that a shape is made of."""
    return _COLUMNS[shape]


def _statement(select: Select[Any], size: int) -> tuple[bytes, dict[str, Any]]:
    parameters: dict[str, Any] = {"after": select.after, "before": select.before, "size": size}
    if select.stream:
        parameters |= {"stream": select.stream, "tenant": select.tenant}
    filters = {
        "tenants": select.tenants,
        "categories": select.categories,
        "types": select.event_types,
    }
    given = {name: list(values) for name, values in filters.items() if values}
    shape: Any = select.shape
    statement = _compose(shape, bool(select.stream), select.backward, *given)
    return statement, parameters | given


@cache
def _compose(shape: type[Any], of_a_stream: bool, backward: bool, *filters: str) -> bytes:  # noqa: FBT001
    """The statement, put together once: that takes longer than a small stream does."""
    columns = _COLUMNS[shape]
    types = sql.SQL(" JOIN event_types t USING (type_id)" if shape is FoldRow else "")
    direction = sql.SQL("DESC" if backward else "ASC")
    tenants = sql.SQL("")
    if "tenants" in filters:
        tenants = sql.SQL(
            " AND e.stream_id IN (SELECT stream_id FROM streams WHERE tenant = ANY (%(tenants)s))"
        )
    if of_a_stream:
        statement = sql.SQL(
            "SELECT {columns} FROM events e{types}"
            " WHERE e.version > %(after)s AND e.version < %(before)s AND e.stream_id ="
            " (SELECT stream_id FROM streams WHERE name = %(stream)s AND tenant = %(tenant)s)"
            " ORDER BY e.version {direction} LIMIT %(size)s"
        ).format(columns=columns, types=types, direction=direction)
    elif not {"categories", "types"} & set(filters):
        statement = sql.SQL(
            "SELECT {columns} FROM events e{types}"
            " WHERE e.global_position > %(after)s AND e.global_position < %(before)s{tenants}"
            " ORDER BY e.global_position {direction} LIMIT %(size)s"
        ).format(columns=columns, types=types, tenants=tenants, direction=direction)
    else:
        conditions = {"categories": "category = ANY (%(categories)s)"}
        conditions["types"] = "event_type = ANY (%(types)s)"
        wanted = [sql.SQL(text) for name, text in conditions.items() if name in filters]
        # One branch for each type, so that a rare one is found by its index and need not be looked
        # for in the whole log. Rows are compared, for which there is no other index: with
        # type_id = k.type_id the planner goes through the log for what it takes for common.
        statement = sql.SQL(
            "SELECT {columns} FROM (SELECT type_id FROM event_types WHERE {wanted}) k"
            " CROSS JOIN LATERAL (SELECT * FROM events e"
            " WHERE (e.type_id, e.global_position) > (k.type_id, %(after)s)"
            " AND (e.type_id, e.global_position) < (k.type_id, %(before)s){tenants}"
            " ORDER BY e.type_id {direction}, e.global_position {direction} LIMIT %(size)s) e"
            "{types} ORDER BY e.global_position {direction} LIMIT %(size)s"
        ).format(
            columns=columns,
            types=types,
            wanted=sql.SQL(" AND ").join(wanted),
            tenants=tenants,
            direction=direction,
        )
    # As many rows as one that takes their payloads past the limit of a page.
    key = sql.SQL("version" if of_a_stream else "global_position")
    names = [sql.SQL(column.split(".")[-1]) for column in columns.as_string(None).split(", ")]
    return (
        sql.SQL(
            "SELECT {names} FROM (SELECT *, sum(octet_length(data)) OVER"
            " (ORDER BY {key} {direction} ROWS UNBOUNDED PRECEDING) - octet_length(data)"
            " AS bytes_before FROM ({page}) p) p WHERE bytes_before <= {most}"
            " ORDER BY {key} {direction}"
        )
        .format(
            names=sql.SQL(", ").join(names),
            key=key,
            direction=direction,
            page=statement,
            most=sql.Literal(PAGE_BYTES),
        )
        .as_bytes()
    )
