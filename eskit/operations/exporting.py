"""The log as JSON Lines, streamed to a file that gets its name when it is complete."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from eskit.domain.events import EventRow
from eskit.errors import StoreDamaged, StoreUnavailable, StreamNotFound
from eskit.files.atomic import put_in_place, unfinished
from eskit.files.modes import PRIVATE, open_or_make
from eskit.operations.export_format import (
    ExportInvalid,
    Footer,
    Header,
    decode_line,
    encode_command,
    encode_erasure,
    encode_event,
    encode_footer,
    encode_header,
    encode_schema,
)
from eskit.store.corruption import check_log, readable
from eskit.store.eventstore import EventStore
from eskit.store.port import StreamKey, View
from eskit.store.records import CommandRow, Erasure
from eskit.store.reports import Progress, ReportProgress, no_progress

_REPORT_EVERY = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """A finished export; `resumed_after` is where an interrupted one had come to."""

    path: Path
    events: int
    commands: int
    erasures: int
    head: int
    bytes: int
    sha256: str
    resumed_after: int = 0


def export_log(
    store: EventStore,
    target: Path,
    *,
    streams: Sequence[str] = (),
    progress: ReportProgress = no_progress,
    file_mode: int = PRIVATE,
) -> ExportReport:
    """Write the log, or some streams of the store's tenant, as it is at one moment.

    What is called `target` is complete: until then the file is called ``<target>.partial``, and
    an export of the same store and streams that was interrupted resumes from it. Raises
    TARGET_EXISTS, StreamNotFound, StoreDamaged for events that are missing or were changed, and
    StoreUnavailable when the file cannot be written.
    """
    for stream in streams:
        if not store.stream_version(stream):
            raise StreamNotFound(stream, hint="See what there is: eskit stream list")
    wanted = tuple((stream, store.tenant) for stream in sorted(set(streams)))
    with unfinished(target) as partial:
        try:
            with store.view() as view:
                check_log(view, streams=wanted)
                export = _Export(store, view, wanted, progress)
                with os.fdopen(open_or_make(partial, mode=file_mode), "r+b") as file:
                    report = export.write(file, target)
            put_in_place(partial, target)
        except StoreDamaged:
            partial.unlink(missing_ok=True)
            raise
        except OSError as error:
            raise StoreUnavailable(
                f"{partial} cannot be written: {error.strerror or error}",
                hint="Fix the cause, then export again: the export resumes where it stopped.",
            ) from error
    return report


class _Export:
    """One run, on one view of the store."""

    def __init__(
        self,
        store: EventStore,
        view: View,
        streams: tuple[StreamKey, ...],
        progress: ReportProgress,
    ) -> None:
        self._view = view
        self._streams = streams
        self._progress = progress
        self._header = Header(store_id=store.store_id, head=view.head(), streams=streams)
        self._schemas = store.load_schemas()
        self._erasures = [e for e in view.rows(Erasure) if self._wants(e)]
        self._hash = hashlib.sha256()
        self._events = self._commands = 0

    def write(self, file: BinaryIO, target: Path) -> ExportReport:
        """Write what the file does not have yet, then the footer."""
        header = self._header
        resumed_after = self._resume(file)
        if not resumed_after:
            self._header = header
            self._start(file)
        records = self._view.events(after=resumed_after, streams=self._streams)
        for record in readable(records):
            if record.global_position > self._header.head:
                break
            self._put(file, _encode(record))
            self._events += 1
            if self._events % _REPORT_EVERY == 0:
                self._report(record.global_position)
        self._report(self._header.head)
        self._put_commands(file)
        footer = Footer(
            events=self._events,
            commands=self._commands,
            erasures=len(self._erasures),
            sha256=self._hash.hexdigest(),
        )
        file.write(encode_footer(footer))
        file.flush()
        return ExportReport(
            path=target,
            events=footer.events,
            commands=footer.commands,
            erasures=footer.erasures,
            head=self._header.head,
            bytes=file.tell(),
            sha256=footer.sha256,
            resumed_after=resumed_after,
        )

    def _put_commands(self, file: BinaryIO) -> None:
        """Those that led to what is exported, so that none is done again by an import of it."""
        for command in self._view.rows(CommandRow, streams=self._streams):
            if command.global_position <= self._header.head:
                self._put(file, encode_command(command))
                self._commands += 1

    def _start(self, file: BinaryIO) -> None:
        file.seek(0)
        file.truncate()
        self._hash = hashlib.sha256()
        self._events = 0
        for line in self._prelude():
            self._put(file, line)

    def _resume(self, file: BinaryIO) -> int:
        """Go to the end of what an interrupted export of the same has written.

        Returns the position of its last event that is still what the store has; 0 to start over.
        """
        lines = _complete_lines(file)
        try:
            header = decode_line(next(lines, b""), 1)
            if not isinstance(header, Header) or not self._continues(header):
                return 0
            self._header = header
            prelude = self._prelude()
            # A stream may have been erased since: then nothing of what was written may stay.
            if prelude[1:] != list(islice(lines, len(prelude) - 1)):
                return 0
            return self._skip_events(file, lines, prelude)
        except ExportInvalid:
            return 0

    def _prelude(self) -> list[bytes]:
        """What comes before the events."""
        schemas = [s for s in self._schemas if s.first_position <= self._header.head]
        return [
            encode_header(self._header),
            *map(encode_erasure, self._erasures),
            *map(encode_schema, schemas),
        ]

    def _continues(self, header: Header) -> bool:
        return (header.store_id, header.streams) == (self._header.store_id, self._streams) and (
            header.head <= self._header.head
        )

    def _skip_events(self, file: BinaryIO, lines: Iterator[bytes], prelude: list[bytes]) -> int:
        """Pass over the events that are written; what comes after the last one is cut off."""
        for line in prelude:
            self._hash.update(line)
        size = sum(map(len, prelude))
        last: EventRow | None = None
        for number, line in enumerate(lines, start=len(prelude) + 1):
            record = decode_line(line, number)
            if not isinstance(record, EventRow):
                break  # commands and footer are written again
            self._hash.update(line)
            self._events += 1
            size += len(line)
            last = record
        file.seek(size)
        file.truncate()
        if last is None or last != self._stored(last.global_position):
            return 0
        return last.global_position

    def _stored(self, position: int) -> EventRow | None:
        return next(self._view.events(after=position - 1), None)

    def _wants(self, erasure: Erasure) -> bool:
        return not self._streams or (erasure.stream, erasure.tenant) in self._streams

    def _put(self, file: BinaryIO, line: bytes) -> None:
        self._hash.update(line)
        file.write(line)

    def _report(self, position: int) -> None:
        self._progress(Progress(name="export", done=position, total=self._header.head))


def _encode(record: EventRow) -> bytes:
    try:
        return encode_event(record)
    except (AttributeError, TypeError, ValueError) as error:
        raise StoreDamaged(
            f"The event at {record.global_position:,}, of {record.stream}, cannot be read"
        ) from error


def _complete_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines from the start; one that was cut off in the middle is left out."""
    file.seek(0, os.SEEK_SET)
    return (line for line in iter(file.readline, b"") if line.endswith(b"\n"))
