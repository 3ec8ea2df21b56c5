"""The whole file at one moment: what verification, export and rebuilding read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from eskit.domain.events import EventRow
from eskit.schema.recorded import EventSchema
from eskit.sqlite.errors import translated
from eskit.store.maintenance import (
    ChangedCommand,
    ChangedEvent,
    CommandRow,
    Erasure,
    HeldClaim,
    LostCommand,
    Misfit,
    RepeatedId,
    VersionGap,
)
from eskit.store.records import Checkpoint
from eskit.store.sqlite import checksums, ids
from eskit.store.sqlite.queries import query
from eskit.store.sqlite.reader import event_row
from eskit.store.sqlite.recording import save_schemas
from eskit.store.sqlite.restoring import add_commands, add_erasures, add_events
from eskit.store.sqlite.schema import find_missing_parts
from eskit.store.sqlite.times import moment

_LOG = "streams", "kinds", "commands", "erasures", "schemas", "event_schemas", "events"
_BESIDE_THE_LOG = "claims", "checkpoints", "records"


class SqliteView:
    """A StoreView on one connection with an open transaction, which is its owner's."""

    def __init__(self, connection: sqlite3.Connection, url: str) -> None:
        self._connection = connection
        self._url = url
        checksums.add_functions(connection)
        ids.add_functions(connection)

    def head_position(self) -> int:
        """The position of the last event; 0 for an empty log."""
        return next((int(position) for position, _ in self._rows("find_head")), 0)

    def count_events(self) -> int:
        """How many events the log has."""
        return self._number("count_log")

    def count_streams(self) -> int:
        """How many streams have events."""
        return self._number("count_streams")

    def read_records(
        self, *, after: int = 0, streams: Sequence[tuple[str, str]] = ()
    ) -> Iterator[EventRow]:
        """The log in order of positions."""
        if streams:
            rows = self._rows("read_records_of_streams", after, json.dumps(list(streams)))
        else:
            rows = self._rows("read_records", after)
        return map(event_row, rows)

    def find_gaps(self) -> Iterator[VersionGap]:
        """Every place where versions are not contiguous."""
        return map(VersionGap._make, self._rows("find_gaps"))

    def find_lost_commands(self) -> Iterator[LostCommand]:
        """Every remembered command whose event is not there."""
        return map(LostCommand._make, self._rows("find_lost_commands"))

    def find_misfits(self, *, log_only: bool = False) -> Iterator[Misfit]:
        """Every value of another storage class than its column's, or out of its range.

        SQLite keeps whatever it is given, and a flipped bit in a row may change the class.
        """
        for table in _LOG if log_only else (*_BESIDE_THE_LOG, *_LOG):
            if self._columns(table):  # an older schema has fewer
                for row in self._rows(f"find_misfits_in_{table}"):
                    yield Misfit(table, *row)

    def find_changed_events(self) -> Iterator[ChangedEvent]:
        """Events whose checksum differs; a file of an older schema cannot tell."""
        if "record_checksum" not in self._columns("events"):
            return iter(())
        return map(ChangedEvent._make, self._rows("find_changed_events"))

    def find_changed_commands(self) -> Iterator[ChangedCommand]:
        """Remembered commands whose checksum differs."""
        if "record_checksum" not in self._columns("commands"):
            return iter(())
        return map(ChangedCommand._make, self._rows("find_changed_commands"))

    def find_repeated_ids(self) -> Iterator[RepeatedId]:
        """Every event whose id an earlier one has."""
        return map(RepeatedId._make, self._rows("find_repeated_ids"))

    def find_lost_ids(self) -> Iterator[int]:
        """The positions of events that are not found by their ids."""
        return (int(position) for (position,) in self._rows("find_lost_ids"))

    def read_claims(self) -> Iterator[HeldClaim]:
        """All claims that are held, sorted."""
        return map(HeldClaim._make, self._rows("list_claims"))

    def read_commands(self, *, streams: Sequence[tuple[str, str]] = ()) -> Iterator[CommandRow]:
        """The processed commands, sorted."""
        return map(CommandRow._make, self._rows("list_commands", json.dumps(list(streams))))

    def list_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints kept with the log, by name."""
        return [
            Checkpoint(
                name=name,
                store_id=store_id,
                position=position,
                event_id=event_id,
                updated_at=moment(updated_at, self._url),
            )
            for name, store_id, position, event_id, updated_at in self._rows("list_checkpoints")
        ]

    def list_erasures(self) -> list[Erasure]:
        """The audit records, oldest first."""
        return [
            Erasure(
                stream=stream,
                tenant=tenant,
                version=version,
                events=events,
                erased_at=moment(erased_at, self._url),
                erased_by=erased_by,
                reason=reason,
            )
            for stream, tenant, version, events, erased_at, erased_by, reason in self._rows(
                "list_erasures"
            )
        ]

    def find_damage(self) -> Iterator[str]:
        """What SQLite's own checks find: pages, indexes, and rows that refer to nothing."""
        for (text,) in self._run("PRAGMA integrity_check"):
            if text != "ok":
                lines = str(text).splitlines()
                yield from (line for line in lines if not line.startswith("***"))  # a heading
        for table, rowid, parent, _ in self._run("PRAGMA foreign_key_check"):
            yield f"row {rowid} of {table} refers to a row of {parent} that is not there"

    def find_missing_parts(self) -> Iterator[str]:
        """Tables and indexes of the file's schema that it does not have, or has otherwise."""
        with translated(self._url):
            yield from find_missing_parts(self._connection)

    def _columns(self, table: str) -> set[str]:
        return {name for _, name, *_ in self._run(f"PRAGMA table_info({table})")}

    def _number(self, name: str) -> int:
        return next((int(number) for (number,) in self._rows(name)), 0)

    def _rows(self, name: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        return self._run(query(name), *parameters)

    def _run(self, statement: str, *parameters: object) -> Iterator[tuple[Any, ...]]:
        with translated(self._url):
            for row in self._connection.execute(statement, parameters):  # noqa: UP028 - whoever
                yield row  # breaks off may have closed the connection, and so the cursor, by then


class LockedSqliteView(SqliteView):
    """A LockedView: its transaction holds the write lock."""

    def put_claim(self, claim: HeldClaim) -> None:
        """Let the stream hold the value."""
        with translated(self._url):
            found = self._connection.execute(query("find_stream_id"), (claim.stream, claim.tenant))
            parameters = (claim.tenant, claim.index_name, claim.value, found.fetchone()[0])
            self._connection.execute(query("save_claim"), parameters)

    def drop_claim(self, claim: HeldClaim) -> None:
        """Free the value."""
        with translated(self._url):
            parameters = (claim.tenant, claim.index_name, claim.value)
            self._connection.execute(query("delete_claim"), parameters)

    def add_events(self, records: Iterable[EventRow]) -> None:
        """Add recorded events as they are, after all that the log has."""
        with translated(self._url):
            add_events(self._connection, records)

    def add_commands(self, commands: Iterable[CommandRow]) -> None:
        """Remember processed commands as they are."""
        with translated(self._url):
            add_commands(self._connection, commands)

    def add_schemas(self, schemas: Sequence[EventSchema]) -> None:
        """Keep the schemas of recorded events."""
        with translated(self._url):
            save_schemas(self._connection, schemas)

    def add_erasures(self, erasures: Sequence[Erasure]) -> None:
        """Add audit records as they are."""
        with translated(self._url):
            add_erasures(self._connection, erasures)
