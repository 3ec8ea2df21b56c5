"""Whether a store is whole: one pass over the log, and everything that must agree with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from uuid import UUID

from eskit.domain.events import Metadata, is_erased
from eskit.errors import ClaimTaken, StoreNotRecognised
from eskit.store.eventstore import EventStore
from eskit.store.maintenance import EventRecord, StoreView
from eskit.store.operations.claims import find_differences
from eskit.store.operations.findings import Finding, Findings, Severity, Verdict, unreadable
from eskit.store.operations.payloads import Payloads
from eskit.store.progress import Progress, ReportProgress, no_progress
from eskit.store.records import Checkpoint
from eskit.store.snapshots import Snapshot
from eskit.store.sqlite.claim_ledger import ClaimLedger

_REPORT_EVERY = 1000
_ID_BYTES = 16


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
) -> Verification:
    """Check a store as it is at one moment; writers go on meanwhile.

    `checkpoints` are those kept elsewhere, in read models, to be compared with the log as well.
    Payloads are decoded with the message classes that are loaded, else with recorded schemas.
    """
    started = time.monotonic()
    with store.maintenance.view() as view, closing(ClaimLedger()) as ledger:
        check = _Check(store.store_id, view, ledger, progress)
        check.schemas(store)
        check.storage()
        check.log()
        check.checksums()
        check.versions()
        check.claims()
        check.snapshots(store)
        check.checkpoints(checkpoints)
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
            seconds=time.monotonic() - started,
        )


def find_beyond_opening(error: StoreNotRecognised) -> Verification | None:
    """The verification of a store that is too damaged to open; None if it is no store at all."""
    if not getattr(error.__cause__, "sqlite_errorname", "").startswith("SQLITE_CORRUPT"):
        return None
    findings = Findings()
    findings.add(unreadable(error, "The store"))
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
        self, store_id: str, view: StoreView, ledger: ClaimLedger, progress: ReportProgress
    ) -> None:
        self._store_id = store_id
        self._view = view
        self._ledger = ledger
        self._progress = progress
        self._erased_up_to: dict[tuple[str, str], int] = {}
        self._log_was_read = False
        self.findings = Findings()
        self.payloads = Payloads((), self.findings)
        self.types: set[str] = set()
        self.events = self.streams = self.erased = 0
        self.claims_held = self.snapshots_seen = self.checkpoints_seen = self.erasures_seen = 0

    def schemas(self, store: EventStore) -> None:
        """The schemas that events are kept with."""
        with self.findings.reading("The schemas of events"):
            self.payloads = Payloads(store.load_schemas(), self.findings)

    def storage(self) -> None:
        """The store's own checks below events."""
        self._progress(Progress(name="storage", done=0, total=1))
        with self.findings.reading("The file"):
            for problem in self._view.find_damage():
                self._found("error", "STORAGE_DAMAGED", problem, hint="Restore it from a backup.")
        self._progress(Progress(name="storage", done=1, total=1))

    def log(self) -> None:
        """Every event once, in order."""
        with self.findings.reading("The log"):
            for erasure in self._view.list_erasures():
                self.erasures_seen += 1
                key = erasure.stream, erasure.tenant
                self._erased_up_to[key] = max(erasure.version, self._erased_up_to.get(key, 0))
            head = self._view.head_position()
            position = recorded_at = 0
            for record in self._view.read_records():
                self._check_order(record, position, recorded_at)
                self._check_record(record)
                position, recorded_at = record.global_position, record.recorded_at
                self.events += 1
                if self.events % _REPORT_EVERY == 0:
                    self._progress(Progress(name="log", done=position, total=head))
            self._progress(Progress(name="log", done=head, total=head))
            missing = self._view.count_events() - self.events
            if missing:
                self._found("error", "EVENTS_UNREADABLE", f"{missing:,} events cannot be read")
            self.payloads.report_unknown_types()
            self._log_was_read = True

    def checksums(self) -> None:
        """Every event against the checksum that was kept beside it."""
        with self.findings.reading("The checksums of events"):
            for event in self._view.find_changed_events():
                self.findings.add(
                    Finding(
                        severity="error",
                        code="EVENT_CHANGED",
                        message=f"Version {event.version} of {event.stream} is not what was "
                        "recorded: its checksum differs",
                        hint="Restore the store from a backup.",
                        position=event.global_position,
                        stream=event.stream,
                        tenant=event.tenant,
                    )
                )

    def versions(self) -> None:
        """The versions of every stream."""
        with self.findings.reading("The index of streams"):
            self.streams = self._view.count_streams()
            for gap in self._view.find_gaps():
                message = (
                    f"Version {gap.version} of {gap.stream} follows version {gap.previous}"
                    if gap.version != gap.previous + 1
                    else f"Version {gap.version} of {gap.stream} comes before the one it follows"
                )
                self.findings.add(
                    Finding(
                        severity="error",
                        code="VERSIONS_NOT_CONTIGUOUS",
                        message=message,
                        hint="Events are missing or were moved: restore the store from a backup.",
                        position=gap.global_position,
                        stream=gap.stream,
                        tenant=gap.tenant,
                    )
                )

    def claims(self) -> None:
        """Claims against what the log gives; left out if the log could not be read."""
        if not self._log_was_read:
            message = "Claims were not compared, because the log could not be read"
            self._found("unknown", "NOT_READ", message)
            return
        with self.findings.reading("The claims"):
            for difference in find_differences(
                self._ledger.read_claims(), self._view.read_claims()
            ):
                self.findings.add(
                    Finding(
                        severity="error",
                        code="CLAIMS_DIFFER",
                        message=difference.text,
                        hint="Put them right: eskit claim rebuild",
                        stream=difference.expected or difference.found,
                        tenant=difference.tenant,
                    )
                )
            self.claims_held = sum(1 for _ in self._view.read_claims())

    def snapshots(self, store: EventStore) -> None:
        """Snapshots against the events they were taken after; what they hold is not refolded."""
        with self.findings.reading("The snapshots"):
            for snapshot in store.snapshots.read():
                self.snapshots_seen += 1
                problem = _snapshot_problem(store, snapshot)
                if problem:
                    self.findings.add(
                        Finding(
                            severity="error",
                            code="SNAPSHOT_DIFFERS",
                            message=f"A snapshot of {snapshot.stream} at version "
                            f"{snapshot.version} {problem}",
                            hint="The log replaces every snapshot: eskit snapshot prune --keep 0",
                            stream=snapshot.stream,
                            tenant=snapshot.tenant,
                        )
                    )

    def checkpoints(self, others: Sequence[Checkpoint]) -> None:
        """Checkpoints against the events they name."""
        with self.findings.reading("The checkpoints"):
            for checkpoint in [*self._view.list_checkpoints(), *others]:
                self.checkpoints_seen += 1
                self._check_checkpoint(checkpoint)

    def _check_checkpoint(self, checkpoint: Checkpoint) -> None:
        name, position = checkpoint.name, checkpoint.position
        head = self._view.head_position()
        if checkpoint.store_id not in {"", self._store_id}:
            self._found(
                "warning",
                "CHECKPOINT_OF_ANOTHER_STORE",
                f"Checkpoint {name!r} was taken from store {checkpoint.store_id}",
                hint=f"This store is a copy or a restored backup. Rebuild {name} from it.",
            )
        elif position > head:
            self._found(
                "error",
                "CHECKPOINT_PAST_HEAD",
                f"Checkpoint {name!r} is at {position:,}, the log ends at {head:,}",
                hint="The log has lost events that were there: restore it from a newer backup.",
                position=position,
            )
        elif position and checkpoint.event_id not in {"", self._event_id(position)}:
            self._found(
                "error",
                "CHECKPOINT_EVENT_DIFFERS",
                f"Checkpoint {name!r} passed event {checkpoint.event_id} at {position:,}, "
                "which is not the event there",
                hint="The log was exchanged or has lost events: restore it from a backup.",
                position=position,
            )

    def _event_id(self, position: int) -> str:
        for record in self._view.read_records(after=position - 1):
            return str(UUID(bytes=record.event_id)) if record.global_position == position else ""
        return ""

    def _check_order(self, record: EventRecord, position: int, recorded_at: int) -> None:
        if record.global_position <= position:
            message = f"Position {record.global_position} comes after {position}"
            self._at(record, "error", "POSITIONS_NOT_IN_ORDER", message)
        if record.recorded_at < recorded_at:
            message = f"The event at {record.global_position} is older than the one before it"
            self._at(record, "error", "TIME_GOES_BACKWARDS", message)

    def _check_record(self, record: EventRecord) -> None:
        self.types.add(record.event_type)
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

    def _check_metadata(self, record: EventRecord) -> None:
        try:
            valid = len(record.event_id) == _ID_BYTES
            Metadata.from_json(record.metadata)
        except (ValueError, TypeError, AttributeError):
            valid = False
        if not valid:
            message = f"Id or metadata of the event at {record.global_position} cannot be read"
            self._at(record, "error", "METADATA_DAMAGED", message)

    def _check_erased(self, record: EventRecord) -> None:
        self.erased += 1
        if record.data or record.claims is not None:
            message = f"Version {record.version} of {record.stream} is erased in part only"
            self._at(record, "error", "ERASURE_INCOMPLETE", message)
        if record.version > self._erased_up_to.get((record.stream, record.tenant), 0):
            message = f"Nobody recorded that version {record.version} of {record.stream} was erased"
            self._at(record, "error", "ERASURE_UNRECORDED", message)

    def _check_claims(self, record: EventRecord) -> None:
        try:
            self._ledger.add(record)
        except ClaimTaken as error:
            message = f"The log gives one value to two streams: {error.message}"
            self._at(record, "error", "CLAIMS_CONFLICT", message)
        except (ValueError, TypeError):
            message = f"The claims of the event at {record.global_position} cannot be read"
            self._at(record, "error", "CLAIMS_DAMAGED", message)

    def _at(
        self, record: EventRecord, severity: Severity, code: str, message: str, *, hint: str = ""
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
        self, severity: Severity, code: str, message: str, *, hint: str = "", position: int = 0
    ) -> None:
        self.findings.add(
            Finding(severity=severity, code=code, message=message, hint=hint, position=position)
        )


def _snapshot_problem(store: EventStore, snapshot: Snapshot) -> str:
    """Why the log cannot have led to the snapshot; empty if it can."""
    events = store.read_stream(
        snapshot.stream, after=max(snapshot.version - 1, 0), limit=1, tenant=snapshot.tenant
    )
    event = next(events, None)
    if event is None:
        return "is ahead of its stream"
    if event.event_id != snapshot.event_id:
        return "was taken after another event than the one there"
    return "outlived the erasure of its stream" if event.erased else ""
