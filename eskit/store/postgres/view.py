"""All of a store in PostgreSQL at one moment, for operations on it as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count, groupby
from pathlib import Path
from typing import Any, NoReturn

import psycopg
from psycopg import sql

from eskit.domain.events import EventRow, erased_metadata, is_erased
from eskit.domain.time import to_microseconds
from eskit.errors import StreamNotFound, Unsupported
from eskit.postgres.connection import Connection
from eskit.postgres.url import PostgresUrl
from eskit.schema.recorded import EventSchema
from eskit.store.corruption import gap, lost_command
from eskit.store.port import Check, Kind, Problem, Stored, StreamKey
from eskit.store.postgres.add import add_claims, add_commands, add_events
from eskit.store.postgres.append import refused
from eskit.store.postgres.read import Names, columns, shaped
from eskit.store.postgres.rows import TABLES
from eskit.store.postgres.sql import query
from eskit.store.recording import is_news
from eskit.store.records import (
    Checkpoint,
    ClaimRow,
    CommandRow,
    Erasure,
    Record,
    StreamInfo,
)
from eskit.store.reports import ReportProgress

_PAGE = 1_000
_numbers = count(1)
_PARTS = (
    *("store", "streams", "event_types", "events", "claims", "commands", "checkpoints", "records"),
    *("erasures", "schemas", "event_schemas", "snapshots", "events_by_stream", "events_by_id"),
    *("events_by_type", "erasures_by_stream", "append", "event_checksum", "command_checksum"),
    *("save_checkpoint", "delete_checkpoint", "insert_record", "update_record", "delete_record"),
    *("save_snapshot", "delete_snapshot", "touch", "eskit_write_note", "eskit_forget_notes"),
    *("content_checksum", "placed_checksum"),
)


class PostgresView:
    """A View in one transaction, which its storage begins and ends."""

    def __init__(self, connection: Connection, names: Names, url: PostgresUrl, schema: str) -> None:
        self._connection = connection
        self._names = names
        self._url = url
        self._schema = schema

    def head(self) -> int:
        """The position of the last event; 0 for an empty log."""
        rows = self._all(query("find_head"))
        return int(rows[0][0]) if rows else 0

    def count(self, kind: type[Any]) -> int:
        """How many rows of a kind there are; of EventRow and StreamInfo as well."""
        if kind is EventRow:
            return int(self._all(sql.SQL("SELECT count(*) FROM events"))[0][0])
        if kind is StreamInfo:
            statement = sql.SQL("SELECT count(DISTINCT stream_id) FROM events")
            return int(self._all(statement)[0][0])
        table = TABLES[kind]
        source = sql.SQL(table.source)
        return int(self._all(sql.SQL("SELECT count(*) FROM {}").format(source))[0][0])

    def events(self, *, after: int = 0, streams: Sequence[StreamKey] = ()) -> Iterator[EventRow]:
        """The log in order of positions; only some streams when they are named."""
        which = sql.SQL("")
        parameters: list[Any] = [after]
        if streams:
            which = sql.SQL(
                " AND e.stream_id IN (SELECT s.stream_id FROM streams s WHERE (s.name, s.tenant)"
                " IN (SELECT * FROM unnest(%s::text[], %s::text[])))"
            )
            parameters += _split(streams)
        statement = sql.SQL(
            "SELECT {} FROM events e WHERE e.global_position > %s{} ORDER BY e.global_position"
        ).format(columns(EventRow), which)
        for page in self._pages(statement, parameters):
            yield from shaped(self._connection, self._names, EventRow, page)

    def rows(self, kind: type[Kind], *, streams: Sequence[StreamKey] = ()) -> Iterator[Kind]:
        """All rows of a kind, sorted by key; of commands only those of some streams, if named."""
        table = TABLES[kind]
        only = bool(streams) and table.stream
        statement = table.statement(streams=only)
        for page in self._pages(statement, _split(streams) if only else []):
            yield from (table.make(*row) for row in page)

    def check(self, what: Check) -> Iterator[Problem]:
        """What is wrong; PostgreSQL looks after its own storage, and keeps ids unique."""
        if what is Check.PARTS:
            yield from self._missing_parts()
            return
        found = _CHECKS.get(what)
        if found is not None:
            name, problem = found
            yield from (problem(*row) for row in self._all(query(name)))

    def backup(self, target: Path, *, progress: ReportProgress) -> NoReturn:  # noqa: ARG002
        """Refused: PostgreSQL has tools of its own for that."""
        raise Unsupported(
            f"{self._url.shown} is not backed up as a file",
            hint="Use pg_dump, or export it: "
            f"eskit store export {target.with_suffix('.jsonl').name}",
        )

    def put(self, rows: Iterable[Stored]) -> None:
        """Add rows as they are, each after the rules of its kind."""
        try:
            for kind, found in groupby(rows, type):
                if kind in _ADD:
                    _ADD[kind](self._connection, found)
                else:
                    for row in found:
                        self._put(row)
        except psycopg.DataError as error:
            raise refused(error, self._url.shown) from error

    def drop(self, rows: Iterable[ClaimRow | CommandRow | Record]) -> None:
        """Drop rows; one that is not as it was is left alone."""
        for row in rows:
            if isinstance(row, ClaimRow):
                self._do(query("delete_claim"), tuple(row))
            elif isinstance(row, Record):
                self._do(query("delete_record"), (row.kind, row.key, row.revision))
            else:
                key = (row.tenant, row.id, row.fingerprint, row.recorded_at)
                self._do(query("delete_command"), key)

    def erase(self, erasure: Erasure) -> Erasure:
        """Blank a stream as the record says, and keep it with the number of events in it."""
        key = (erasure.stream, erasure.tenant)
        stored = self._all(query("read_to_erase"), key)
        if not stored:
            raise StreamNotFound(erasure.stream)
        blank = [
            {"metadata": erased_metadata(metadata), "position": position}
            for _, metadata, position in stored
            if not is_erased(metadata)
        ]
        with self._connection.cursor() as cursor:
            cursor.executemany(query("erase_event"), blank)
        for name in ("erase_claims", "erase_responses", "erase_snapshots"):
            self._do(query(name), key)
        done = erasure.of(version=stored[-1][0], events=len(blank))
        if done.events:
            self._put(done)
        return done

    def adopt(self, store_id: str) -> None:
        """Give the store another id."""
        self._do(query("save_store_id"), (store_id,))

    def _put(self, row: Stored) -> None:
        if isinstance(row, EventSchema):
            if is_news(row, self.rows(EventSchema)):
                self._do(query("add_schema"), (row.schema_id, row.files))
                place = (row.event_type, row.first_position, row.schema_id)
                self._do(query("add_event_schema"), place)
        elif isinstance(row, Erasure):
            time = to_microseconds(row.erased_at)
            values = (row.version, row.events, time, row.erased_by, row.reason)
            if not self._do(query("add_erasure"), (*values, row.stream, row.tenant)):
                raise StreamNotFound(row.stream)
        elif isinstance(row, Checkpoint):
            passed = (row.name, row.store_id, row.position, row.event_id)
            self._do(query("save_checkpoint"), (*passed, to_microseconds(row.updated_at)))
        elif isinstance(row, Record):
            value = (row.kind, row.key, row.value, to_microseconds(row.updated_at))
            self._do(query("put_record"), (*value, row.revision))

    def _missing_parts(self) -> Iterator[Problem]:
        found = {name for (name,) in self._all(query("list_parts"), (self._schema, self._schema))}
        for part in _PARTS:
            if part not in found:
                yield Problem(f"{part} is missing in the schema {self._url.schema}")

    def _pages(self, statement: Any, parameters: Sequence[Any]) -> Iterator[list[tuple[Any, ...]]]:
        cursor = self._connection.cursor(name=_cursor_name(), binary=True)
        try:
            cursor.execute(statement, parameters)
            while page := cursor.fetchmany(_PAGE):
                yield page
        finally:
            for _ in range(2):  # the first time fails where the connection is lost, the second not
                with contextlib.suppress(psycopg.Error):
                    cursor.close()

    def _all(self, statement: Any, parameters: Any = ()) -> list[tuple[Any, ...]]:
        with self._connection.cursor(binary=True) as cursor:
            return cursor.execute(statement, parameters).fetchall()

    def _do(self, statement: Any, parameters: Any = ()) -> int:
        return self._connection.execute(statement, parameters).rowcount


def _strange_value(table: str, column: str, position: int) -> Problem:
    text = f"{table}.{column} of the event at {position:,} cannot be what was recorded"
    return Problem(text, global_position=position)


def _changed_event(stream: str, tenant: str, version: int, position: int) -> Problem:
    text = (
        f"Version {version} of {stream}, at {position:,}, is not what was recorded: its checksum "
        "differs"
    )
    return Problem(text, stream, tenant, position)


def _changed_command(command_id: str, stream: str, tenant: str, position: int) -> Problem:
    text = (
        f"What is remembered of command {command_id!r}, on {stream}, is not what was recorded: its "
        "checksum differs"
    )
    return Problem(text, stream, tenant, position)


_CHECKS: Mapping[Check, tuple[str, Callable[..., Problem]]] = {
    Check.VALUES: ("find_strange_values", _strange_value),
    Check.LOG_VALUES: ("find_strange_values", _strange_value),
    Check.EVENTS: ("find_changed_events", _changed_event),
    Check.COMMANDS: ("find_changed_commands", _changed_command),
    Check.LOST_COMMANDS: ("find_lost_commands", lost_command),
    Check.VERSIONS: ("find_gaps", gap),
}
"""What is looked for with a statement, and what a row of it says."""


_ADD: Mapping[type, Callable[[Connection, Any], None]] = {
    EventRow: add_events,
    CommandRow: add_commands,
    ClaimRow: add_claims,
}
"""What is added in sets."""


def _split(streams: Sequence[StreamKey]) -> list[Any]:
    """Names and tenants, as two arrays."""
    return [[name for name, _ in streams], [tenant for _, tenant in streams]]


def _cursor_name() -> str:
    return f"eskit_{next(_numbers)}"
