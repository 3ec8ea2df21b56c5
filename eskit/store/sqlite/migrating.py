"""From an older schema of the file to the current one.

The tables are changed in one transaction. What has to be made anew in every row is done behind
that, some rows in each transaction; the file keeps its old version until all is done, and a mark
that says how far it is, so that an interrupted migration resumes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from eskit.errors import StoreUnavailable
from eskit.files.atomic import find_leftovers
from eskit.sqlite.connections import begin_immediate, connect, roll_back
from eskit.sqlite.errors import translated
from eskit.sqlite.place import find_status
from eskit.store.reports import MigrationReport, Progress, ReportProgress
from eskit.store.sqlite import checksums, ids
from eskit.store.sqlite.backup import back_up
from eskit.store.sqlite.keys import AFTER_ALL_COMMANDS, BEFORE_ALL_COMMANDS, command_after
from eskit.store.sqlite.leftovers import check_beside
from eskit.store.sqlite.queries import query
from eskit.store.sqlite.schema import (
    current_version,
    migration_statements,
    read_store_id,
    read_version,
)

_TIMEOUT = 5.0
_WHOLE_RECORDS = 6
"""From this version on checksums cover whole records."""
_EVENTS_AT_ONCE = 10_000
_BYTES_AT_ONCE = 16 * 1024 * 1024
_COMMANDS_AT_ONCE = 1_000
_UNDER_WAY = "migration"


@dataclass(frozen=True, slots=True, kw_only=True)
class _UnderWay:
    """How far a migration is whose tables are changed: kept in the file until it is done."""

    backup: str
    events_after: int = 0
    commands_after: tuple[str, str] = BEFORE_ALL_COMMANDS


def migrate_file(
    path: Path, url: str, *, dry_run: bool, file_mode: int, progress: ReportProgress
) -> MigrationReport:
    """Back the file up and run what is missing; go on with what was broken off."""
    if find_status(path, url) is None:
        raise StoreUnavailable(f"There is no store at {url}", hint="Check the path of the store.")
    check_beside(path, url, timeout=_TIMEOUT)
    with translated(url), closing(connect(path, mode="rw")) as connection:
        before = read_version(connection, url)
        if dry_run or before == current_version():
            return MigrationReport(before=before, after=current_version())
        under_way = _find_under_way(connection)
        if under_way is None:
            origin = read_store_id(connection, url)
            backup = _free_name(path, before)
            back_up(
                path,
                backup,
                url=url,
                origin=origin,
                mode="rw",
                file_mode=file_mode,
                progress=progress,
                damaged=True,
            )
        else:
            backup = path.with_name(under_way.backup)
        _Steps(connection, url, backup.name, progress).run()
    return MigrationReport(before=before, after=current_version(), backup=backup)


class _Steps:
    """What brings one file to the current schema."""

    def __init__(
        self, connection: sqlite3.Connection, url: str, backup: str, progress: ReportProgress
    ) -> None:
        self._connection = connection
        self._url = url
        self._backup = backup
        self._progress = progress
        checksums.add_functions(connection)
        ids.add_functions(connection)

    def run(self) -> None:
        """All that are missing."""
        with self._transaction():
            # Again, now that nobody else can: another process may have been quicker.
            if read_version(self._connection, self._url) < _WHOLE_RECORDS and (
                _find_under_way(self._connection) is None
            ):
                self._change_tables(until=_WHOLE_RECORDS)
                self._keep(_UnderWay(backup=self._backup))
        while self._renew_some():
            pass
        with self._transaction():
            if read_version(self._connection, self._url) < current_version():
                self._change_tables(after=_WHOLE_RECORDS, until=current_version())
                self._connection.execute("DELETE FROM store WHERE key = ?", (_UNDER_WAY,))
                self._connection.execute(f"PRAGMA user_version = {current_version()}")

    def _change_tables(self, *, after: int = 0, until: int) -> None:
        first = max(read_version(self._connection, self._url), after) + 1
        for version in range(first, until + 1):
            for statement in migration_statements(version):
                self._connection.execute(statement)
            self._progress(Progress(name="migrate", done=version, total=current_version()))

    def _renew_some(self) -> bool:
        """Make some checksums anew, those of events first; False when all are."""
        with self._transaction():
            under_way = _find_under_way(self._connection)
            if under_way is None:
                return False
            if (until := self._find_page(under_way.events_after)) is not None:
                bounds = under_way.events_after, until
                self._connection.execute(query("save_untimely_ids"), bounds)
                self._connection.execute(query("renew_event_checksums"), bounds)
                self._keep(replace(under_way, events_after=until))
                self._progress(Progress(name="checksums", done=until, total=self._head()))
                return True
            if under_way.commands_after == AFTER_ALL_COMMANDS:
                return False
            last = command_after(self._connection, under_way.commands_after, _COMMANDS_AT_ONCE)
            commands = *under_way.commands_after, *last
            self._connection.execute(query("renew_command_checksums"), commands)
            self._keep(replace(under_way, commands_after=last))
            return True

    def _find_page(self, after: int) -> int | None:
        """The position up to which to go on: so many events, and so many bytes."""
        until, size = None, 0
        rows = self._connection.execute(query("measure_events"), (after, _EVENTS_AT_ONCE))
        for position, length in rows:
            until = int(position)
            size += length or 0
            if size >= _BYTES_AT_ONCE:
                break
        rows.close()
        return until

    def _head(self) -> int:
        row = self._connection.execute(query("find_head")).fetchone()
        return int(row[0]) if row else 0

    def _keep(self, under_way: _UnderWay) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO store (key, value) VALUES (?, ?)",
            (_UNDER_WAY, json.dumps(asdict(under_way))),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        begin_immediate(self._connection, self._url, _TIMEOUT)
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            roll_back(self._connection)


def _find_under_way(connection: sqlite3.Connection) -> _UnderWay | None:
    row = connection.execute("SELECT value FROM store WHERE key = ?", (_UNDER_WAY,)).fetchone()
    if row is None:
        return None
    kept = json.loads(row[0])
    tenant, command_id = kept["commands_after"]
    return _UnderWay(
        backup=str(kept["backup"]),
        events_after=int(kept["events_after"]),
        commands_after=(tenant, command_id),
    )


def _free_name(path: Path, version: int) -> Path:
    """``bank.db.v1.backup``, with a number if that is taken."""
    number = 1
    while True:
        mark = "" if number == 1 else f"-{number}"
        name = path.with_name(f"{path.name}.v{version}{mark}.backup")
        if not name.exists() and not find_leftovers(name):
            return name
        number += 1
