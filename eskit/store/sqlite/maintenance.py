"""Operations on the whole file. Each has a connection of its own, as another process would."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from eskit.clock import Clock
from eskit.domain.time import from_microseconds
from eskit.sqlite.connections import begin_immediate, begin_reading, connect, roll_back
from eskit.sqlite.errors import translated
from eskit.sqlite.interrupting import let_interrupt
from eskit.sqlite.leftovers import note_files
from eskit.store.aging import forgotten_before, span_width
from eskit.store.maintenance import BackupReport, Erasure, PrunedCommands
from eskit.store.progress import ReportProgress
from eskit.store.records import FOLLOWER, LETTER, count_needed, needed_ids
from eskit.store.sqlite.backup import back_up
from eskit.store.sqlite.erasing import erase_stream, scrub
from eskit.store.sqlite.keys import AFTER_ALL_COMMANDS, BEFORE_ALL_COMMANDS, command_after
from eskit.store.sqlite.queries import query
from eskit.store.sqlite.view import LockedSqliteView, SqliteView
from eskit.text.unicode import check_text

_COMMANDS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteMaintenance:
    """Maintenance of the store in one file; `read_mode` is how its readers connect."""

    path: Path
    url: str
    store_id: str
    read_mode: str
    busy_timeout: float
    command_ttl: int
    clock: Clock
    file_mode: int

    @contextmanager
    def view(self) -> Iterator[SqliteView]:
        """The store at this moment: one read transaction."""
        with self._read() as connection:
            begin_reading(connection)
            yield SqliteView(connection, self.url)

    @contextmanager
    def lock(self) -> Iterator[LockedSqliteView]:
        """The store with all writers waiting: one write transaction."""
        with self._write() as connection:
            yield LockedSqliteView(connection, self.url)

    def erase_stream(
        self, stream: str, *, reason: str, erased_by: str, tenant: str = ""
    ) -> Erasure:
        """Blank the payloads and claims of a stream."""
        check_text(stream + tenant, "A stream")
        check_text(reason + erased_by, "An erasure")
        with self._write() as connection:
            return erase_stream(
                connection,
                stream,
                tenant,
                reason=reason,
                erased_by=erased_by,
                now=self.clock.microseconds(),
            )

    def scrub(self) -> None:
        """Write the file anew, so that nothing is left in free space or in the WAL."""
        with translated(self.url):
            scrub(self.path, self.url, timeout=self.busy_timeout, clock=self.clock)

    def prune_commands(self, *, dry_run: bool = False) -> PrunedCommands:
        """Forget the commands whose time to live is over, some in each transaction."""
        now = self.clock.microseconds()
        with self._read() as connection:
            begin_reading(connection)
            width = span_width(self.command_ttl)
            spans = connection.execute(query("find_command_spans"), (now, width))
            before = forgotten_before(now, self.command_ttl, spans)
            (old,) = connection.execute(query("count_old_commands"), (before,)).fetchone()
            ids = connection.execute(query("list_old_reaction_ids"), (before,))
            needed = count_needed((row[0] for row in ids), self._needed_ids(connection))
        pruned = old - sum(needed.values()) if dry_run else self._delete_commands(before)
        return PrunedCommands(
            commands=pruned,
            before=from_microseconds(before) if before else None,
            needed=needed,
        )

    def _needed_ids(self, connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
        followers, letters = (
            [row[1:3] for row in connection.execute(query("list_records"), (kind,))]
            for kind in (FOLLOWER, LETTER)
        )
        return needed_ids(followers, letters)

    def _delete_commands(self, before: int) -> int:
        pruned, last = 0, BEFORE_ALL_COMMANDS
        while last != AFTER_ALL_COMMANDS:
            first = last
            with self._write() as connection:
                last = command_after(connection, first, _COMMANDS_AT_ONCE)
                kept = json.dumps([needed[1:] for needed in self._needed_ids(connection)])
                bounds = *first, *last, before, kept
                pruned += connection.execute(query("prune_commands"), bounds).rowcount
        return pruned

    def backup(self, target: Path, *, progress: ReportProgress) -> BackupReport:
        """Copy the file as it is at one moment, and check the copy."""
        return back_up(
            self.path,
            target,
            url=self.url,
            origin=self.store_id,
            mode=self.read_mode,
            file_mode=self.file_mode,
            progress=progress,
        )

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        with translated(self.url), closing(connect(self.path, mode=self.read_mode)) as connection:
            let_interrupt(connection)
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA busy_timeout = {int(self.busy_timeout * 1000)}")
            yield connection

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with translated(self.url), closing(connect(self.path, mode="rw")) as connection:
            let_interrupt(connection)
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            begin_immediate(connection, self.url, self.busy_timeout, self.clock)
            note_files(self.path, self.store_id)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                roll_back(connection)
