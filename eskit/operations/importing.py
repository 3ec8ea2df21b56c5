"""An exported log back into a store: a new one, or one that holds nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

from eskit.domain.events import EventRow, is_erased
from eskit.errors import (
    ClaimTaken,
    InvalidArgument,
    ProjectError,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    StreamNotFound,
)
from eskit.files.atomic import put_in_place, remove_database, unfinished
from eskit.files.regular import open_regular
from eskit.operations.export_format import (
    EXPORT_AGAIN,
    ExportInvalid,
    Footer,
    Header,
    Line,
    StreamKey,
    decode_line,
    line_invalid,
    no_export,
)
from eskit.operations.findings import Findings
from eskit.operations.payloads import Payloads
from eskit.schema.recorded import EventSchema
from eskit.store.eventstore import EventStore
from eskit.store.location import Location
from eskit.store.open import locate, open_store
from eskit.store.port import Check, View
from eskit.store.records import EARLIER, REACTIONS, Checkpoint, CommandRow, Erasure
from eskit.store.reports import Progress, ReportProgress, no_progress

Entry = TypeVar("Entry")
_BATCH = 1000
_BATCH_BYTES = 8 * 1024 * 1024
_LONGEST_HEADER = 64 * 1024 * 1024
_LONGEST_LINE = 1_500_000_000
_OTHER_SCHEMAS = {"SCHEMA_OUTDATED", "SCHEMA_TOO_NEW"}
"""Bytes; SQLite keeps payloads of up to a thousand million, which are written in base64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """A finished import; `origin` is the id of the store that was exported."""

    url: str
    store_id: str
    origin: str
    events: int
    commands: int
    erasures: int
    head: int
    resumed_after: int = 0


def import_log(source: Path, url: str, *, progress: ReportProgress = no_progress) -> ImportReport:
    """Make the store at `url` what was exported: positions, versions, ids and times are kept.

    A file that does not exist yet gets its name when all is in it and agrees with the counts and
    the checksum of the export; an interrupted import resumes. A store that exists must
    hold nothing, and is filled in one transaction. The store has an id of its own, so that a
    checkpoint of the original is not taken for one of the copy. Raises ExportInvalid,
    TARGET_EXISTS, StoreUnavailable.
    """
    try:
        with open_regular(source) as file:
            location = locate(url)
            if location.file is not None and not location.exists():
                return _into_new_file(_Export(file, progress), location, location.file)
            return _into_empty_store(_Export(file, progress), url)
    except ExportInvalid as error:
        raise ExportInvalid(f"{source}: {error.message}", hint=error.hint) from error
    except OSError as error:
        raise StoreUnavailable(
            f"{source} cannot be read: {error.strerror or error}",
            hint="Check the path of the export.",
        ) from error


def _into_empty_store(export: _Export, url: str) -> ImportReport:
    with open_store(url, create=False) as store:
        with store.view() as view:
            _check_holds_nothing(view, store.url)
        _note_earlier_reactions(store, export.header.head)
        with store.view(exclusive=True) as locked:
            _check_holds_nothing(locked, store.url)
            for batch in export.batches():
                _add(locked, batch)
            locked.put(export.schemas)
            _add_erasures(locked, export.erasures)
            export.check_ids(locked)
            return export.report(store, locked, store.url)


def _check_holds_nothing(view: View, url: str) -> None:
    if not _holds_nothing(view):
        raise ProjectError(
            f"{url} is not empty: it has {view.count(EventRow):,} events",
            code="TARGET_EXISTS",
            hint="Import into a new store: eskit --store URL store import FILE",
        )


def _note_earlier_reactions(store: EventStore, head: int) -> None:
    """Keep in mind up to where reactions may have come: an export does not say how far they are."""
    if head and store.find_record(EARLIER, REACTIONS) is None:
        note = json.dumps({"position": head})
        store.save_record(EARLIER, REACTIONS, note, expected_revision=0)


def _holds_nothing(view: View) -> bool:
    commands = next(view.rows(CommandRow), None)
    return not view.head() and not any(view.rows(Checkpoint)) and commands is None


def _into_new_file(export: _Export, location: Location, file: Path) -> ImportReport:
    target = Path(os.path.realpath(file))  # a link is filled, not replaced
    with unfinished(target) as partial:
        try:
            report = _into_file(export, partial, location)
        except ExportInvalid:
            remove_database(partial)
            raise
        put_in_place(partial, target)
    return report


def _into_file(export: _Export, partial: Path, location: Location) -> ImportReport:
    partial_url = location.at(partial)
    resumed_after = _resume(export, partial, partial_url)
    with open_store(partial_url) as store:
        _check_is_unfinished(store, partial, resumed=resumed_after is not None)
        _note_earlier_reactions(store, export.header.head)
        for batch in export.batches():
            with store.view(exclusive=True) as locked:
                _add(locked, batch)
        with store.view(exclusive=True) as locked:
            locked.put(export.schemas)
            if not any(locked.rows(Erasure)):
                _add_erasures(locked, export.erasures)
        with store.view() as view:
            export.check_ids(view)
            return export.report(store, view, location.url, resumed_after=resumed_after or 0)


def _resume(export: _Export, partial: Path, url: str) -> int | None:
    """Pass over the events that an interrupted import of the same export has brought in.

    Returns the position of the last one; None where there was no such import. What is left of
    any other is removed.
    """
    if not partial.exists():
        return None
    try:
        with open_store(url) as store, store.view() as view:
            position = view.head()
            same = all(record == export.next_record() for record in view.events())
    except StoreError as error:
        if not isinstance(error, StoreDamaged) and error.code not in _OTHER_SCHEMAS:
            raise
        same = False
    if not same:
        remove_database(partial)
        export.rewind()
        return None
    return position


def _check_is_unfinished(store: EventStore, partial: Path, *, resumed: bool) -> None:
    """Refuse to add to a store that is anything but an import that has only begun."""
    with store.view() as view:
        if any(view.rows(Checkpoint)) or not (resumed or _holds_nothing(view)):
            raise ProjectError(
                f"{partial} is a store in use, not an unfinished import",
                code="TARGET_EXISTS",
                hint="Move it away, then import again.",
            )


class _Export:
    """An export that is read once, from its header to its footer."""

    def __init__(self, file: BinaryIO, progress: ReportProgress) -> None:
        self._file = file
        self._progress = progress
        self.rewind()

    def rewind(self) -> None:
        """Start again with the header."""
        self._file.seek(0)
        self._number = self._events = self._commands = 0
        self._hash = hashlib.sha256()
        self._footer: Footer | None = None
        self._previous = self._hash.digest()
        self._findings = Findings()
        self._payloads: Payloads | None = None
        self._erased_up_to: dict[StreamKey, int] = {}
        self.erasures: list[Erasure] = []
        self.schemas: list[EventSchema] = []
        header = self._next_line()
        if not isinstance(header, Header):
            raise no_export()
        self.header = header

    def next_record(self) -> EventRow | CommandRow | None:
        """The next event, then the next command; None at the footer, which must agree with all."""
        while self._footer is None:
            line = self._next_line()
            if isinstance(line, EventRow) and not self._commands:
                self._check_event(line)
                self._events += 1
                return line
            if isinstance(line, CommandRow):
                self._commands += 1
                return line
            if isinstance(line, Footer):
                self._finish(line)
            elif isinstance(line, Erasure) and not self._events + self._commands:
                self.erasures.append(line)
                key = line.stream, line.tenant
                self._erased_up_to[key] = max(line.version, self._erased_up_to.get(key, 0))
            elif isinstance(line, EventSchema) and not self._events + self._commands:
                self.schemas.append(line)
            else:
                raise ExportInvalid(f"Line {self._number} is out of place", hint=EXPORT_AGAIN)
        return None

    def batches(self) -> Iterator[_Batch]:
        """The events and commands that are left, some at a time."""
        while batch := self._next_batch():
            yield batch
            # Commands come in an order of their own, after the last event.
            at_end = not batch.events or batch.commands
            done = self.header.head if at_end else batch.events[-1].global_position
            self._progress(Progress(name="import", done=done, total=self.header.head))

    def _next_batch(self) -> _Batch | None:
        """As many as one transaction takes, and as many bytes."""
        batch = _Batch()
        while len(batch.lines) < _BATCH and batch.size < _BATCH_BYTES:
            record = self.next_record()
            if record is None:
                break
            batch.add(record, self._number)
        return batch if batch.lines else None

    def check_ids(self, view: View) -> None:
        """Raise ExportInvalid for an event whose id an earlier one has."""
        for problem in view.check(Check.REPEATED_IDS):
            raise ExportInvalid(
                f"The export cannot be imported: {problem.text}",
                hint="An event id is stored once. Move a store that an older eskit took it in with "
                "store backup and store migrate.",
            )

    def _check_event(self, event: EventRow) -> None:
        """Raise ExportInvalid for what a store would call damaged afterwards."""
        if self._payloads is None:
            self._payloads = Payloads(self.schemas, self._findings)
        if event.global_position > self.header.head:
            raise line_invalid(self._number, f"its position is behind {self.header.head:,}")
        erased = is_erased(event.metadata)
        erased_up_to = self._erased_up_to.get((event.stream, event.tenant), 0)
        if erased != (event.version <= erased_up_to):
            told = "is erased and" if erased else "is not erased, but"
            raise line_invalid(self._number, f"it {told} the erasures say otherwise")
        if not erased:
            self._payloads.check(event)
            for finding in self._findings.kept:
                raise line_invalid(self._number, finding.message)

    def report(
        self, store: EventStore, view: View, url: str, *, resumed_after: int = 0
    ) -> ImportReport:
        """What was imported; STORE_NOT_RECOGNISED if the store does not hold just that."""
        if view.count(EventRow) != self._events:
            raise StoreDamaged(
                f"{view.count(EventRow):,} events were stored of {self._events:,}",
                code="STORE_NOT_RECOGNISED",
                hint="Check the disk, remove the imported file, and import again.",
            )
        return ImportReport(
            url=url,
            store_id=store.store_id,
            origin=self.header.store_id,
            events=self._events,
            commands=self._commands,
            erasures=len(self.erasures),
            head=self.header.head,
            resumed_after=resumed_after,
        )

    def _next_line(self) -> Line:
        line = self._file.readline(_LONGEST_LINE if self._number else _LONGEST_HEADER)
        self._number += 1
        if not line.endswith(b"\n"):
            if self._number == 1:
                raise no_export()
            if len(line) == _LONGEST_LINE:
                raise line_invalid(self._number, f"it has more than {_LONGEST_LINE:,} bytes")
            raise ExportInvalid(
                f"The export ends at line {self._number}, without its footer", hint=EXPORT_AGAIN
            )
        self._previous = self._hash.digest()
        self._hash.update(line)
        return decode_line(line, self._number)

    def _finish(self, footer: Footer) -> None:
        if footer.sha256 != self._previous.hex():
            raise ExportInvalid("The export was altered: its checksum differs", hint=EXPORT_AGAIN)
        read = self._events, self._commands, len(self.erasures)
        if (footer.events, footer.commands, footer.erasures) != read:
            raise ExportInvalid(
                "The export does not hold as many events, commands and erasures as its footer says",
                hint=EXPORT_AGAIN,
            )
        if self._file.read(1):
            raise ExportInvalid("Something follows the footer of the export", hint=EXPORT_AGAIN)
        self._footer = footer


@dataclass(slots=True)
class _Batch:
    """Records that are added in one transaction, and the lines they stand in."""

    events: list[EventRow] = field(default_factory=list)
    commands: list[CommandRow] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    size: int = 0
    added: int = 0

    def add(self, record: EventRow | CommandRow, line: int) -> None:
        """One more."""
        self.lines.append(line)
        if isinstance(record, EventRow):
            self.events.append(record)
            self.size += len(record.data)
        else:
            self.commands.append(record)
            self.size += len(record.response)

    def one_by_one(self, records: Iterable[Entry]) -> Iterator[Entry]:
        """The records, counted as they are taken, so that a line can be named."""
        for record in records:
            self.added += 1
            yield record


def _add(locked: View, batch: _Batch) -> None:
    try:
        locked.put(batch.one_by_one(batch.events))
        locked.put(batch.one_by_one(batch.commands))
    except (InvalidArgument, ClaimTaken) as error:
        raise ExportInvalid(
            f"Line {batch.lines[batch.added - 1]} contradicts what comes before it: "
            f"{error.message}",
            hint=EXPORT_AGAIN,
        ) from error


def _add_erasures(locked: View, erasures: list[Erasure]) -> None:
    try:
        locked.put(erasures)
    except StreamNotFound as error:
        raise ExportInvalid(
            f"The export file is inconsistent: {error.message}", hint=EXPORT_AGAIN
        ) from error
