"""What a changed schema means for the events that a store holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError, Message

from eskit.domain.events import RecordedEvent
from eskit.domain.upcasting import Upcasters
from eskit.errors import EskitError, UpcastingInvalid
from eskit.schema.changes import EVOLVE, ChangeVerdict, SchemaChange, verdict_of
from eskit.schema.compatibility import compare_types
from eskit.schema.declared import declared_events
from eskit.schema.recorded import RecordedSchemas
from eskit.schema.services import compare_services
from eskit.schema.unknown_fields import holds_unknown_fields
from eskit.store.eventstore import EventStore
from eskit.store.reports import Progress, ReportProgress, no_progress

_REPORT_EVERY = 1000
_LONGEST_ERROR = 200


@dataclass(slots=True, kw_only=True)
class EvolutionFinding:
    """A change, how many stored events it touches, and the first of them."""

    change: SchemaChange
    events: int = 0
    position: int = 0
    stream: str = ""

    def count(self, event: RecordedEvent) -> None:
        """One more event that is touched."""
        if not self.events:
            self.position, self.stream = event.global_position, event.stream
        self.events += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evolution:
    """The findings, worst first, and the verdict over them; those accepted count for nothing."""

    verdict: ChangeVerdict
    findings: Sequence[EvolutionFinding] = ()
    additions: Sequence[SchemaChange] = ()
    accepted: Sequence[EvolutionFinding] = ()
    compared: int = 0

    @property
    def breaking(self) -> bool:
        """Whether stored events would be misread, or eskit cannot tell."""
        return any(
            not finding.change.backward or finding.change.undecided for finding in self.findings
        )


def recorded_types(
    store: EventStore, schemas: RecordedSchemas
) -> dict[str, tuple[Descriptor, ...]]:
    """Every event type of the log with the schemas that were kept of it, oldest first."""
    return {
        event_type: tuple(
            _descriptor(schemas.message_class(version)) for version in schemas.versions(event_type)
        )
        for event_type in store.list_event_types()
    }


def check_evolution(
    protos: FileDescriptorSet,
    *,
    store: EventStore | None,
    baseline: FileDescriptorSet | None = None,
    upcasters: Upcasters | None = None,
    decode: bool = False,
    accepted: Collection[str] = (),
    progress: ReportProgress = no_progress,
) -> Evolution:
    """Compare the event types of the working protos with those of the store and of `baseline`.

    With `baseline` its services are compared as well. `upcasters` are None when they are not
    known: then none is missed. With `decode` every stored event is read with the working schema
    and through its upcasters. `accepted` are keys of changes that are accepted.
    """
    schemas = RecordedSchemas(store.load_schemas() if store else ())
    stored = recorded_types(store, schemas) if store else {}
    before = {name: (kind,) for name, kind in declared_events(baseline).items()} if baseline else {}
    known = stored.keys() | before.keys()
    working = declared_events(protos, also=known)
    changes: dict[SchemaChange, None] = {}
    for old in (stored, before):
        if old:
            changes |= dict.fromkeys(compare_types(old, working))
    if baseline is not None:
        changes |= dict.fromkeys(compare_services(baseline, protos))
    additions = [change for change in changes if _is_addition(change, known)]
    findings = [EvolutionFinding(change=change) for change in changes if change.notable]
    if store is not None:
        _count(store, schemas, findings, progress)
        if decode:
            findings += _decode_all(store, working, upcasters, progress)
        else:
            findings += _unrecorded(store, stored, working)
        findings += _unused(store, upcasters)
    findings.sort(key=lambda finding: (finding.change.backward, -finding.events))
    judged = [finding for finding in findings if finding.change.key in accepted]
    findings = [finding for finding in findings if finding.change.key not in accepted]
    return Evolution(
        verdict=verdict_of([*(finding.change for finding in findings), *additions]),
        findings=findings,
        additions=additions,
        accepted=judged,
        compared=len(known),
    )


def _unrecorded(
    store: EventStore,
    stored: Mapping[str, Sequence[Descriptor]],
    working: Mapping[str, Descriptor],
) -> Iterator[EvolutionFinding]:
    """The event types whose schema was never recorded: comparing says nothing about them."""
    for event_type, versions in stored.items():
        if versions or event_type not in working:
            continue
        finding = EvolutionFinding(
            change=SchemaChange(
                rule="SCHEMA_NOT_RECORDED",
                event_type=event_type,
                message="the store has no schema of its events, so nothing can be compared",
                fix="read them all with the working protos: eskit schema check --decode",
                undecided=True,
            )
        )
        for event in store.read_all(event_types=[event_type], limit=1):
            finding.position, finding.stream = event.global_position, event.stream
        finding.events = store.count_events(event_types=[event_type])
        yield finding


def _is_addition(change: SchemaChange, known: Iterable[str]) -> bool:
    # What one side lacks and the other has is no news.
    return not change.notable and not (
        change.rule == "EVENT_TYPE_ADDED" and change.event_type in known
    )


def _count(
    store: EventStore,
    schemas: RecordedSchemas,
    findings: Sequence[EvolutionFinding],
    progress: ReportProgress,
) -> None:
    """Find the stored events that each finding touches; only types with findings are read."""
    by_type: dict[str, list[EvolutionFinding]] = defaultdict(list)
    for finding in findings:
        by_type[finding.change.event_type].append(finding)
    for event, message in _messages(store, schemas, sorted(by_type), progress):
        for finding in by_type[event.event_type]:
            if message is None or finding.change.touches(message):
                finding.count(event)


def _messages(
    store: EventStore,
    schemas: RecordedSchemas,
    event_types: Sequence[str],
    progress: ReportProgress,
) -> Iterator[tuple[RecordedEvent, Message | None]]:
    """The events of some types as they were written; None where that is not known.

    An erased event holds nothing that a schema could break.
    """
    if not event_types:
        return
    for event in _read(store, event_types, "count", progress):
        try:
            yield (
                event,
                schemas.decode(event.event_type, event.data, position=event.global_position),
            )
        except EskitError:
            yield event, None


def _read(
    store: EventStore, event_types: Sequence[str], name: str, progress: ReportProgress
) -> Iterator[RecordedEvent]:
    total = store.count_events(event_types=event_types)
    for done, event in enumerate(store.read_all(event_types=event_types), start=1):
        if done % _REPORT_EVERY == 0 or done == total:
            progress(Progress(name=name, done=done, total=total))
        if not event.erased:
            yield event


@dataclass(slots=True)
class _Decoding:
    """Reads events with the working schema and collects what goes wrong, by type."""

    working: Mapping[str, Descriptor]
    upcasters: Upcasters | None
    found: dict[tuple[str, str], EvolutionFinding] = field(default_factory=dict)
    _classes: dict[str, type[Message]] = field(default_factory=dict)

    def read(self, event: RecordedEvent) -> None:
        """Decode one event and judge it."""
        descriptor = self.working.get(event.event_type)
        if descriptor is None:
            return  # its removal is a finding already
        kind = self._classes.get(event.event_type)
        if kind is None:
            kind = self._classes[event.event_type] = message_factory.GetMessageClass(descriptor)
        try:
            message = kind.FromString(event.data)
        except DecodeError as error:
            self._find(event, "NOT_DECODED", f"does not decode: {error}", EVOLVE)
            return
        size = message.ByteSize()
        kind.DiscardUnknownFields(message)
        if message.ByteSize() < size and holds_unknown_fields(kind.FromString(event.data)):
            self._find(
                event,
                "FIELDS_NOT_READ",
                "holds fields that the working schema does not read",
                "declare them again, or reserve their numbers if what they hold does not matter",
                backward=True,
            )
        source = self.upcasters.source(event.event_type) if self.upcasters else None
        if self.upcasters is not None and source is not None:
            self._upcast(event, source, self.upcasters)
        if self._needs_upcaster(event.event_type, descriptor):
            self._find(
                event,
                "NOT_UPCAST",
                "is deprecated and no upcaster reads it",
                f"write an upcaster to the event that has taken its place; {EVOLVE}",
            )

    def _upcast(self, event: RecordedEvent, source: type[Message], upcasters: Upcasters) -> None:
        """Run the app's own upcasters over the event: they are code, and only running tells."""
        wanted = upcasters.current_type(event.event_type)
        try:
            upcasters.apply(source.FromString(event.data))
        except UpcastingInvalid as error:
            problem = error.message
        except Exception as error:  # noqa: BLE001 - users' code raises whatever it likes
            problem = f"its upcaster raises {type(error).__name__}: {str(error)[:_LONGEST_ERROR]}"
        else:
            return
        self._find(
            event,
            "UPCASTER_FAILED",
            problem,
            f"let the upcaster return a {wanted} for every stored event",
        )

    def _needs_upcaster(self, event_type: str, descriptor: Descriptor) -> bool:
        if self.upcasters is None or not descriptor.GetOptions().deprecated:
            return False
        return self.upcasters.current_type(event_type) == event_type

    def _find(
        self, event: RecordedEvent, rule: str, message: str, fix: str, *, backward: bool = False
    ) -> None:
        key = rule, event.event_type
        if key not in self.found:
            change = SchemaChange(
                rule=rule,
                event_type=event.event_type,
                message=message,
                fix=fix,
                backward=backward,
            )
            self.found[key] = EvolutionFinding(change=change)
        self.found[key].count(event)


def _decode_all(
    store: EventStore,
    working: Mapping[str, Descriptor],
    upcasters: Upcasters | None,
    progress: ReportProgress,
) -> list[EvolutionFinding]:
    decoding = _Decoding(working, upcasters)
    for event in _read(store, (), "decode", progress):
        decoding.read(event)
    return list(decoding.found.values())


def _unused(store: EventStore, upcasters: Upcasters | None) -> Iterator[EvolutionFinding]:
    """The upcasters through which no stored event passes."""
    if not upcasters:
        return
    passed = {
        step for event_type in store.list_event_types() for step in upcasters.chain(event_type)
    }
    for source in upcasters.sources:
        if source not in passed:
            yield EvolutionFinding(
                change=SchemaChange(
                    rule="UPCASTER_UNUSED",
                    event_type=source,
                    message="its upcaster never runs",
                    fix="remove it when no other store has such events either",
                )
            )


def _descriptor(kind: type[Message]) -> Descriptor:
    return cast("Descriptor", kind.DESCRIPTOR)
