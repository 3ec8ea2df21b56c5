"""Whether a store is whole: one pass over the log, and everything that must agree with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from uuid import UUID

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import EventRow, Metadata, is_erased
from eskit.domain.messages import check_event_type
from eskit.domain.streams import check_stream, check_tenant
from eskit.errors import ClaimTaken, InvalidArgument, StoreDamaged
from eskit.operations.claim_ledger import ClaimLedger
from eskit.operations.claims import find_differences
from eskit.operations.findings import (
    RESTORE,
    UNCHECKABLE,
    Finding,
    Findings,
    Severity,
    Verdict,
)
from eskit.operations.payloads import Payloads
from eskit.store.eventstore import EventStore
from eskit.store.port import Check, Problem, View
from eskit.store.records import (
    RELAY_CHECKPOINT,
    RELAY_STREAM_CHECKPOINT,
    Checkpoint,
    ClaimRow,
    CommandRow,
    Erasure,
    Snapshot,
    StreamInfo,
)
from eskit.store.reports import Progress, ReportProgress, no_progress

_REPORT_EVERY = 1000
_ID_BYTES = 16
_LOST = "The log has lost events that were there: restore the store from a newer backup."
_REPLACE = "The log replaces every snapshot: eskit snapshot prune --keep 0"
_AHEAD = "is ahead of its stream"
_UNNAMEABLE = "No command can name it: restore the store from a backup, or leave it as it is."
_REPEATED = (
    "An older eskit took it. It stays readable and is published; consumers that compare IDs see "
    "one event."
)
_EXCHANGED = "The log was exchanged or has lost events: restore the store from a backup."


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was checked, and what was found.

    `decoded`, `undecoded` and `erased` add up to the payloads that were read: those that parse,
    those of unknown types or that do not parse, and the erased ones. Of the decoded ones
    `by_recorded_schema` were decoded with the schema that the store keeps, because no loaded
    module defines their type.
    `findings` holds the first of each code, `found` counts all.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    found: int
    events: int
    streams: int
    event_types: int
    decoded: int
    by_recorded_schema: int
    undecoded: int
    erased: int
    claims: int
    snapshots: int
    checkpoints: int
    erasures: int
    seconds: float


def verify(
    store: EventStore,
    *,
    checkpoints: Sequence[Checkpoint] = (),
    progress: ReportProgress = no_progress,
    clock: Clock = SYSTEM_CLOCK,
) -> Verification:
    """Check a store as it is at one moment; writers continue meanwhile.

    `checkpoints` are those kept elsewhere, in read models, to be compared with the log as well.
    Payloads are decoded with the message classes that are loaded, else with recorded schemas.
    """
    started = clock.monotonic()
    with store.view() as view, closing(ClaimLedger()) as ledger:
        check = _Check(store.store_id, view, ledger, progress)
        check.schemas(store)
        check.storage()
        check.values()
        check.erasures()
        check.log()
        check.checksums()
        check.ids()
        check.versions()
        check.commands()
        check.snapshots(store)
        check.checkpoints(checkpoints)
        check.claims()
        return Verification(
            verdict=check.findings.verdict,
            findings=check.findings.kept,
            found=check.findings.count,
            events=check.events,
            streams=check.streams,
            event_types=len(check.types),
            decoded=check.payloads.decoded,
            by_recorded_schema=check.payloads.by_recorded_schema,
            undecoded=check.payloads.undecoded,
            erased=check.erased,
            claims=check.claims_held,
            snapshots=check.snapshots_seen,
            checkpoints=check.checkpoints_seen,
            erasures=check.erasures_seen,
            seconds=clock.monotonic() - started,
        )


def find_beyond_opening(error: StoreDamaged) -> Verification | None:
    """The verification of a store that is too damaged to open; None if it is no store at all."""
    if error.code == "STORE_NOT_RECOGNISED":
        return None
    findings = Findings()
    findings.unreadable(error, "the store")
    return Verification(
        verdict=findings.verdict,
        findings=findings.kept,
        found=findings.count,
        events=0,
        streams=0,
        event_types=0,
        decoded=0,
        by_recorded_schema=0,
        undecoded=0,
        erased=0,
        claims=0,
        snapshots=0,
        checkpoints=0,
        erasures=0,
        seconds=0.0,
    )


class _Check:
    """The steps of one verification."""

    def __init__(
        self, store_id: str, view: View, ledger: ClaimLedger, progress: ReportProgress
    ) -> None:
        self._store_id = store_id
        self._view = view
        self._ledger = ledger
        self._progress = progress
        self._erased_up_to: dict[tuple[str, str], int] = {}
        self._erasures_were_read = self._log_was_read = False
        self._log_is_damaged = False
        self.findings = Findings()
        self.payloads = Payloads((), self.findings)
        self.types: set[str] = set()
        self.events = self.streams = self.erased = 0
        self.claims_held = self.snapshots_seen = self.checkpoints_seen = self.erasures_seen = 0

    def schemas(self, store: EventStore) -> None:
        """The schemas that events are kept with."""
        with self.findings.reading("the schemas of events"):
            self.payloads = Payloads(store.load_schemas(), self.findings)

    def storage(self) -> None:
        """The store's own checks below events."""
        self._progress(Progress(name="storage", done=0, total=1))
        with self.findings.reading("the pages of the file"):
            for problem in self._view.check(Check.STORAGE):
                self._found("error", "STORAGE_DAMAGED", problem.text)
        with self.findings.reading("the schema of the file"):
            for problem in self._view.check(Check.PARTS):
                hint = "Rebuild it from the log: eskit store export, then eskit store import"
                self._found("error", "STORAGE_INCOMPLETE", problem.text, hint=hint)
        self._progress(Progress(name="storage", done=1, total=1))

    def values(self) -> None:
        """Every value on its own: whether it can be one."""
        with self.findings.reading("the values"):
            for problem in self._view.check(Check.VALUES):
                self._in_stream(problem, "VALUE_DAMAGED")

    def erasures(self) -> None:
        """The audit records of erasures."""
        with self.findings.reading("the erasures"):
            for erasure in self._view.rows(Erasure):
                self.erasures_seen += 1
                key = erasure.stream, erasure.tenant
                self._erased_up_to[key] = max(erasure.version, self._erased_up_to.get(key, 0))
            self._erasures_were_read = True

    def log(self) -> None:
        """Every event once, in order."""
        with self.findings.reading("the log"):
            head = self._view.head()
            position = recorded_at = uncheckable = 0
            for record in self._view.events():
                try:
                    self._check_order(record, position, recorded_at)
                    self._check_record(record)
                    recorded_at = record.recorded_at
                except UNCHECKABLE:
                    uncheckable += 1
                    message = f"The event at {record.global_position:,} could not be checked"
                    self._at(record, "unknown", "NOT_CHECKED", message)
                position = record.global_position
                self.events += 1
                if self.events % _REPORT_EVERY == 0:
                    self._progress(Progress(name="log", done=position, total=head))
            self._progress(Progress(name="log", done=head, total=head))
            missing = self._view.count(EventRow) - self.events
            if missing:
                self._log_is_damaged = True
                message = f"{missing:,} of the events lack their stream or their type"
                self._found("error", "EVENTS_UNREADABLE", message)
            self.payloads.report_unknown_types()
            self._log_was_read = not uncheckable

    def checksums(self) -> None:
        """Every event and remembered command against the checksum that was kept beside it."""
        with self.findings.reading("the checksums of events"):
            for problem in self._view.check(Check.EVENTS):
                self._in_stream(problem, "EVENT_CHANGED")
        with self.findings.reading("the checksums of commands"):
            for problem in self._view.check(Check.COMMANDS):
                self._in_stream(problem, "COMMAND_CHANGED")

    def ids(self) -> None:
        """Whether every event has an id of its own."""
        with self.findings.reading("the ids of events"):
            for problem in self._view.check(Check.REPEATED_IDS):
                self._in_stream(problem, "EVENT_ID_REPEATED", hint=_REPEATED, severity="warning")
            for problem in self._view.check(Check.LOST_IDS):
                self._in_stream(problem, "EVENT_ID_LOST")

    def versions(self) -> None:
        """The versions of every stream."""
        with self.findings.reading("the index of streams"):
            self.streams = self._view.count(StreamInfo)
            for gap in self._view.check(Check.VERSIONS):
                self._log_is_damaged = True
                hint = "Events are missing or were moved: restore the store from a backup."
                self._in_stream(gap, "VERSIONS_NOT_CONTIGUOUS", hint=hint)

    def commands(self) -> None:
        """Remembered commands against the events they led to."""
        with self.findings.reading("the remembered commands"):
            for command in self._view.check(Check.LOST_COMMANDS):
                self._log_is_damaged = True
                self._in_stream(command, "COMMAND_WITHOUT_EVENT", hint=_LOST)
            for _ in self._view.rows(CommandRow):
                pass  # each can be read

    def claims(self) -> None:
        """Claims against what the log gives; left out if the log could not be read."""
        if not self._log_was_read:
            message = "Claims were not compared, because the log could not be read"
            self._found("unknown", "NOT_READ", message, hint="See the other findings first.")
            return
        hint = "Repair them: eskit claim rebuild"
        if self._log_is_damaged:
            hint = "The log that tells it is damaged: restore the store from a backup."
        with self.findings.reading("the claims"):
            for difference in find_differences(
                self._ledger.read_claims(), self._view.rows(ClaimRow)
            ):
                self.findings.add(
                    Finding(
                        severity="error",
                        code="CLAIMS_DIFFER",
                        message=difference.text,
                        hint=hint,
                        stream=difference.expected or difference.found,
                        tenant=difference.tenant,
                    )
                )
            self.claims_held = sum(1 for _ in self._view.rows(ClaimRow))

    def snapshots(self, store: EventStore) -> None:
        """Snapshots against the events they were taken after; what they hold is not refolded."""
        with self.findings.reading("the snapshots"):
            for snapshot in self._view.rows(Snapshot):
                self.snapshots_seen += 1
                problem = self._snapshot_problem(store, snapshot)
                if problem:
                    self.findings.add(
                        Finding(
                            severity="error",
                            code="SNAPSHOT_DIFFERS",
                            message=f"A snapshot of {snapshot.stream} at version "
                            f"{snapshot.version:,} {problem}",
                            hint=_LOST if problem == _AHEAD else _REPLACE,
                            stream=snapshot.stream,
                            tenant=snapshot.tenant,
                        )
                    )

    def checkpoints(self, others: Sequence[Checkpoint]) -> None:
        """Checkpoints against the events they name."""
        with self.findings.reading("the checkpoints"):
            for checkpoint in self._view.rows(Checkpoint):
                if checkpoint.name != RELAY_STREAM_CHECKPOINT:
                    self._check_checkpoint(checkpoint, renewed_by=_renewal(checkpoint.name))
            for checkpoint in others:
                self._check_checkpoint(
                    checkpoint,
                    renewed_by=f"Rebuild its rows: eskit project rebuild {checkpoint.name}",
                )

    def _check_checkpoint(self, checkpoint: Checkpoint, *, renewed_by: str) -> None:
        self.checkpoints_seen += 1
        name, position = checkpoint.name, checkpoint.position
        head = self._view.head()
        if checkpoint.store_id not in {"", self._store_id}:
            self._found(
                "warning",
                "CHECKPOINT_OF_ANOTHER_STORE",
                f"Checkpoint {name!r} was taken from store {checkpoint.store_id}",
                hint=f"This store is a copy or a restored backup. {renewed_by}",
            )
        elif position > head:
            self._log_is_damaged = True
            self._found(
                "error",
                "CHECKPOINT_PAST_HEAD",
                f"Checkpoint {name!r} is at {position:,}, the log ends at {head:,}",
                hint=_LOST,
                position=position,
            )
        elif position and checkpoint.event_id not in {"", self._event_id(position)}:
            self._found(
                "error",
                "CHECKPOINT_EVENT_DIFFERS",
                f"Checkpoint {name!r} passed event {checkpoint.event_id} at {position:,}, "
                "which is not the event there",
                hint=_EXCHANGED,
                position=position,
            )

    def _event_id(self, position: int) -> str:
        for record in self._view.events(after=position - 1):
            return str(UUID(bytes=record.event_id)) if record.global_position == position else ""
        return ""

    def _check_order(self, record: EventRow, position: int, recorded_at: int) -> None:
        if record.global_position <= position:
            message = f"Position {record.global_position:,} comes after {position:,}"
            self._at(record, "error", "POSITIONS_NOT_IN_ORDER", message)
        if record.recorded_at < recorded_at:
            message = f"The event at {record.global_position:,} is older than the one before it"
            self._at(record, "error", "TIME_GOES_BACKWARDS", message)

    def _check_record(self, record: EventRow) -> None:
        self._check_names(record)
        self._check_metadata(record)
        if is_erased(record.metadata):
            self._check_erased(record)
        else:
            self.payloads.check(record)
            if record.version <= self._erased_up_to.get((record.stream, record.tenant), 0):
                message = f"Version {record.version} of {record.stream} should be erased"
                self._at(
                    record,
                    "error",
                    "ERASURE_INCOMPLETE",
                    message,
                    hint=f"Erase it again: eskit stream erase {record.stream} --reason …",
                )
        self._check_claims(record)

    def _check_names(self, record: EventRow) -> None:
        """Whether an append would take its stream and its type: each is checked once."""
        try:
            if record.event_type not in self.types:
                self.types.add(record.event_type)
                check_event_type(record.event_type)
            if record.version == 1:
                check_stream(record.stream)
                check_tenant(record.tenant)
        except InvalidArgument as error:
            self._at(record, "error", "NAME_INVALID", error.message, hint=_UNNAMEABLE)

    def _check_metadata(self, record: EventRow) -> None:
        try:
            valid = len(record.event_id) == _ID_BYTES
            Metadata.from_json(record.metadata)
        except (ValueError, TypeError, AttributeError):
            valid = False
        if not valid:
            message = f"Id or metadata of the event at {record.global_position:,} cannot be read"
            self._at(record, "error", "METADATA_DAMAGED", message)

    def _check_erased(self, record: EventRow) -> None:
        self.erased += 1
        if record.data or record.claims is not None:
            message = f"Version {record.version} of {record.stream} is erased in part only"
            self._at(record, "error", "ERASURE_INCOMPLETE", message)
        recorded = self._erased_up_to.get((record.stream, record.tenant), 0)
        if self._erasures_were_read and record.version > recorded:
            message = f"Version {record.version} of {record.stream} was erased without a record"
            self._at(record, "error", "ERASURE_UNRECORDED", message)

    def _check_claims(self, record: EventRow) -> None:
        try:
            self._ledger.add(record)
        except ClaimTaken as error:
            self._log_is_damaged = True
            message = f"The log gives one value to two streams: {error.message}"
            self._at(record, "error", "CLAIMS_CONFLICT", message)
        except InvalidArgument as error:
            self._log_is_damaged = True
            self._at(record, "error", "CLAIMS_DAMAGED", error.message)

    def _snapshot_problem(self, store: EventStore, snapshot: Snapshot) -> str:
        """Why the log cannot have led to the snapshot; empty if it can."""
        if not snapshot.readable:
            return "cannot be read"
        events = store.for_tenant(snapshot.tenant).read_stream(
            snapshot.stream, after=snapshot.version - 1, limit=1
        )
        event = next(events, None)
        if event is None:
            self._log_is_damaged = True
            return _AHEAD
        if event.event_id != snapshot.event_id:
            return "was taken after another event than the one there"
        return "outlived the erasure of its stream" if event.erased else ""

    def _in_stream(
        self,
        found: Problem,
        code: str,
        *,
        hint: str = RESTORE,
        severity: Severity = "error",
    ) -> None:
        self.findings.add(
            Finding(
                severity=severity,
                code=code,
                message=found.text,
                hint=hint,
                position=found.global_position,
                stream=found.stream,
                tenant=found.tenant,
            )
        )

    def _at(
        self,
        record: EventRow,
        severity: Severity,
        code: str,
        message: str,
        *,
        hint: str = RESTORE,
    ) -> None:
        self.findings.add(
            Finding(
                severity=severity,
                code=code,
                message=message,
                hint=hint,
                position=record.global_position,
                stream=record.stream,
                tenant=record.tenant,
            )
        )

    def _found(
        self,
        severity: Severity,
        code: str,
        message: str,
        *,
        hint: str = RESTORE,
        position: int = 0,
    ) -> None:
        self.findings.add(
            Finding(severity=severity, code=code, message=message, hint=hint, position=position)
        )


def _renewal(name: str) -> str:
    """What to do about a checkpoint that is kept with the log and was taken from another."""
    if name == RELAY_CHECKPOINT:
        return "Publish it in place of the other: eskit relay --republish"
    return f"Let the program that keeps {name} start over."
