"""The whole file at one moment: what operations on a store as a whole read and change."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from eskit.domain.events import EventRow
from eskit.domain.ids import uuid_text
from eskit.errors import Unsupported
from eskit.schema.recorded import EventSchema
from eskit.sqlite.errors import translated
from eskit.store.corruption import gap, lost_command
from eskit.store.port import Check, Kind, Problem, Stored, StreamKey
from eskit.store.records import (
    Checkpoint,
    ClaimRow,
    CommandRow,
    Erasure,
    Record,
    Snapshot,
    StreamInfo,
)
from eskit.store.reports import BackupReport, ReportProgress
from eskit.store.sqlite import checksums, ids
from eskit.store.sqlite.add import add_commands, add_erasures, add_events
from eskit.store.sqlite.erase import erase_stream
from eskit.store.sqlite.kept import (
    add_checkpoints,
    add_records,
    drop_record,
    find_rows,
    make_rows,
    save_schemas,
)
from eskit.store.sqlite.queries import query
from eskit.store.sqlite.read import event_row
from eskit.store.sqlite.schema import find_missing_parts

_LOG = "streams", "kinds", "commands", "erasures", "schemas", "event_schemas", "events"
_BESIDE_THE_LOG = "claims", "checkpoints", "records"
_COUNTS = {
    EventRow: "count_log",
    StreamInfo: "count_streams",
    ClaimRow: "count_claims",
    CommandRow: "count_commands",
    Snapshot: "count_snapshots",
    Erasure: "count_erasures",
}


def _refuse_copy(target: Path, _progress: ReportProgress) -> NoReturn:
    raise Unsupported(f"{target} would be the copy of a copy")


class SqliteView:
    """A View on one connection with an open transaction, which is its owner's.

    `copy` makes a backup of the file that it belongs to.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        url: str,
        copy: Callable[[Path, ReportProgress], BackupReport] = _refuse_copy,
    ) -> None:
        self._connection = connection
        self._url = url
        self._copy = copy
        checksums.add_functions(connection)
        ids.add_functions(connection)

    def head(self) -> int:
        """The position of the last event; 0 for an empty log."""
        return next((int(position) for position, _ in self._rows("find_head")), 0)

    def count(self, kind: type[Any]) -> int:
        """How many rows of a kind there are."""
        return next((int(number) for (number,) in self._rows(_COUNTS[kind])), 0)

    def events(self, *, after: int = 0, streams: Sequence[StreamKey] = ()) -> Iterator[EventRow]:
        """The log in order of positions."""
        if streams:
            rows = self._rows("read_records_of_streams", after, json.dumps(list(streams)))
        else:
            rows = self._rows("read_records", after)
        return map(event_row, rows)

    def rows(self, kind: type[Kind], *, streams: Sequence[StreamKey] = ()) -> Iterator[Kind]:
        """All rows of a kind, sorted by key."""
        if kind is CommandRow:
            rows = self._rows("list_commands", json.dumps(list(streams)))
            return make_rows(rows, self._url, kind)
        if kind is ClaimRow:
            return make_rows(self._rows("list_claims"), self._url, kind)
        return self._translated(find_rows(self._connection, self._url, kind, ()))

    def check(self, what: Check) -> Iterator[Problem]:
        """What is wrong, found by SQLite itself or by a statement for each kind of problem."""
        checks = {
            Check.STORAGE: self._storage,
            Check.PARTS: self._parts,
            Check.VALUES: self._values,
            Check.LOG_VALUES: self._log_values,
            Check.EVENTS: self._changed_events,
            Check.COMMANDS: self._changed_commands,
            Check.LOST_COMMANDS: self._lost_commands,
            Check.VERSIONS: self._gaps,
            Check.REPEATED_IDS: self._repeated_ids,
            Check.LOST_IDS: self._lost_ids,
        }
        return checks[what]()

    def backup(self, target: Path, *, progress: ReportProgress) -> BackupReport:
        """Copy the file as this view sees it, and check the copy."""
        return self._copy(target, progress)

    def put(self, rows: Iterable[Stored]) -> None:
        """Add rows as they are, those of one kind after another together."""
        with translated(self._url):
            for kind, some in groupby(rows, type):
                _ADD[kind](self._connection, some)

    def drop(self, rows: Iterable[ClaimRow | CommandRow | Record]) -> None:
        """Drop rows, but no command that was recorded at another time."""
        with translated(self._url):
            for row in rows:
                if isinstance(row, ClaimRow):
                    self._connection.execute(query("delete_claim"), row[:3])
                elif isinstance(row, CommandRow):
                    key = row.tenant, row.id, row.recorded_at
                    self._connection.execute(query("delete_command"), key)
                else:
                    drop_record(self._connection, row)

    def erase(self, erasure: Erasure) -> Erasure:
        """Blank the rows of the stream, and all that came of them."""
        with translated(self._url):
            return erase_stream(self._connection, erasure)

    def adopt(self, store_id: str) -> None:
        """Give the store another id."""
        with translated(self._url):
            self._connection.execute(query("save_store_id"), (store_id,))

    def _storage(self) -> Iterator[Problem]:
        """What SQLite's own checks find: pages, indexes, and rows that refer to nothing."""
        for (text,) in self._run("PRAGMA integrity_check"):
            if text != "ok":
                lines = str(text).splitlines()
                yield from (Problem(line) for line in lines if not line.startswith("***"))  # heads
        for table, rowid, parent, _ in self._run("PRAGMA foreign_key_check"):
            yield Problem(f"row {rowid} of {table} refers to a row of {parent} that is not there")

    def _parts(self) -> Iterator[Problem]:
        """Tables and indexes of the file's schema that it does not have, or has otherwise."""
        return map(Problem, self._translated(find_missing_parts(self._connection)))

    def _log_values(self) -> Iterator[Problem]:
        return self._misfits(_LOG)

    def _values(self) -> Iterator[Problem]:
        return self._misfits((*_BESIDE_THE_LOG, *_LOG))

    def _misfits(self, tables: Sequence[str]) -> Iterator[Problem]:
        """Every value of another storage class than its column's, or out of its range.

        SQLite keeps whatever it is given, and a flipped bit in a row may change the class.
        """
        for table in tables:
            if not self._columns(table):  # an older schema has fewer
                continue
            for column, row, position, stream, tenant in self._rows(f"find_misfits_in_{table}"):
                where = f"{table}.{column}"
                if position:
                    where += f" of the event at {position:,}"
                elif row or stream:
                    where += f" of {row or stream}"
                text = f"{where} cannot be what was recorded"
                yield Problem(text, stream, tenant, position)

    def _changed_events(self) -> Iterator[Problem]:
        """Events whose checksum differs; a file of an older schema cannot tell."""
        if "record_checksum" in self._columns("events"):
            for stream, tenant, version, position in self._rows("find_changed_events"):
                text = (
                    f"Version {version} of {stream}, at {position:,}, is not what was recorded: "
                    "its checksum differs"
                )
                yield Problem(text, stream, tenant, position)

    def _changed_commands(self) -> Iterator[Problem]:
        """Remembered commands whose checksum differs."""
        if "record_checksum" in self._columns("commands"):
            for command_id, stream, tenant, position in self._rows("find_changed_commands"):
                text = (
                    f"What is remembered of command {command_id!r}, on {stream}, is not what was "
                    "recorded: its checksum differs"
                )
                yield Problem(text, stream, tenant, position)

    def _lost_commands(self) -> Iterator[Problem]:
        return (lost_command(*row) for row in self._rows("find_lost_commands"))

    def _gaps(self) -> Iterator[Problem]:
        return (gap(*row) for row in self._rows("find_gaps"))

    def _repeated_ids(self) -> Iterator[Problem]:
        for event_id, position, stream, tenant, first in self._rows("find_repeated_ids"):
            text = (
                f"The event at {position:,}, of {stream}, has the id of the one at {first:,}: "
                f"{uuid_text(event_id)}"
            )
            yield Problem(text, stream, tenant, position)

    def _lost_ids(self) -> Iterator[Problem]:
        for (position,) in self._rows("find_lost_ids"):
            text = f"The event at {position:,} is not found by its id"
            yield Problem(text, global_position=position)

    def _columns(self, table: str) -> set[str]:
        return {name for _, name, *_ in self._run(f"PRAGMA table_info({table})")}

    def _rows(self, name: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        return self._run(query(name), *parameters)

    def _run(self, statement: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        with translated(self._url):
            for row in self._connection.execute(statement, parameters):  # noqa: UP028 - whoever
                yield row  # breaks off may have closed the connection, and so the cursor, by then

    def _translated(self, rows: Iterator[Any]) -> Iterator[Any]:
        with translated(self._url):
            yield from rows


def _put_claims(connection: sqlite3.Connection, claims: Iterable[ClaimRow]) -> None:
    for claim in claims:
        found = connection.execute(query("find_stream_id"), (claim.stream, claim.tenant))
        connection.execute(query("save_claim"), (*claim[:3], found.fetchone()[0]))


_ADD: dict[type, Callable[[sqlite3.Connection, Any], None]] = {
    EventRow: add_events,
    CommandRow: add_commands,
    ClaimRow: _put_claims,
    EventSchema: save_schemas,
    Erasure: add_erasures,
    Checkpoint: add_checkpoints,
    Record: add_records,
}
