"""What the protos declare, what the store has of it, and what changes mean for stored events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from eskit.errors import Diagnostic
from eskit.schema.fields import NO_COMMENTS, custom_options, describe_fields
from eskit.schema.pools import descriptor_of
from eskit.text.quantities import count

if TYPE_CHECKING:
    from eskit.codegen.reading.model import Aggregate
    from eskit.domain.services import Method
    from eskit.operations.evolution import Evolution, EvolutionFinding
    from eskit.schema.changes import SchemaChange
    from eskit.store.eventstore import EventStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """How many events of a type the store has, and how many schemas they were written with."""

    events: int
    schemas: int


_NOTHING = Stored(events=0, schemas=0)


def load_stored(store: EventStore) -> Mapping[str, Stored]:
    """What the store has of every event type in it."""
    from eskit.schema.recorded import RecordedSchemas

    schemas = RecordedSchemas(store.load_schemas())
    return {
        event_type: Stored(
            events=store.count_events(event_types=[event_type]),
            schemas=len(schemas.versions(event_type)),
        )
        for event_type in store.list_event_types()
    }


def aggregate_object(
    aggregate: Aggregate, stored: Mapping[str, Stored] | None
) -> dict[str, object]:
    """An aggregate with its methods and events; what is stored is null where there is no store."""
    return {
        "aggregate": aggregate.name,
        "state": aggregate.state.full_name,
        "id_field": aggregate.id_field,
        "file": aggregate.state.file,
        "methods": [
            {"kind": service.kind, "method": f"{service.full_name}/{rpc.name}"}
            for service in aggregate.services
            for rpc in service.rpcs
        ],
        "events": [
            {
                "event_type": event.message.full_name,
                "deprecated": event.deprecated,
                **_stored_object(event.message.full_name, stored),
            }
            for event in aggregate.events
        ],
    }


def _stored_object(event_type: str, stored: Mapping[str, Stored] | None) -> dict[str, int | None]:
    if stored is None:
        return {"stored": None, "schemas": None}
    found = stored.get(event_type, _NOTHING)
    return {"stored": found.events, "schemas": found.schemas}


def find_undeclared(
    aggregates: Sequence[Aggregate], stored: Mapping[str, Stored] | None
) -> list[Diagnostic]:
    """The event types that are stored and that no proto declares as an event."""
    declared = {event.message.full_name for a in aggregates for event in a.events}
    return [
        Diagnostic(
            severity="warning",
            code="EVENT_TYPE_NOT_DECLARED",
            message=f"{count(found.events, 'event')} of {event_type}, which no proto declares",
            hint="See what that means: eskit schema check",
        )
        for event_type, found in (stored or {}).items()
        if event_type not in declared
    ]


_BUF_RULES = {
    "FIELD_REMOVED": "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED",
    "FIELD_RENAMED": "FIELD_SAME_NAME",
    "FIELD_JSON_NAME_CHANGED": "FIELD_SAME_JSON_NAME",
    "FIELD_NUMBER_CHANGED": "FIELD_NO_DELETE",
    "FIELD_NUMBER_REUSED": "FIELD_SAME_NAME",
    "FIELD_TYPE_CHANGED": "FIELD_WIRE_COMPATIBLE_TYPE",
    "FIELD_TYPE_RENAMED": "FIELD_SAME_TYPE",
    "FIELD_DEFAULT_CHANGED": "FIELD_SAME_DEFAULT",
    "FIELD_ONEOF_CHANGED": "FIELD_SAME_ONEOF",
    "FIELD_REQUIRED": "MESSAGE_SAME_REQUIRED_FIELDS",
    "FIELD_NO_LONGER_REQUIRED": "MESSAGE_SAME_REQUIRED_FIELDS",
    "RESERVED_REMOVED": "RESERVED_MESSAGE_NO_DELETE",
    "ENUM_VALUE_REMOVED": "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED",
    "ENUM_VALUE_RENAMED": "ENUM_VALUE_SAME_NAME",
    "ENUM_VALUE_NUMBER_CHANGED": "ENUM_VALUE_SAME_NAME",
    "ENUM_CLOSED": "ENUM_SAME_TYPE",
    "EVENT_TYPE_REMOVED": "MESSAGE_NO_DELETE",
    "EVENT_TYPE_RENAMED": "MESSAGE_NO_DELETE",
    "PACKAGE_CHANGED": "FILE_SAME_PACKAGE",
    "METHOD_REMOVED": "RPC_NO_DELETE",
    "METHOD_REQUEST_CHANGED": "RPC_SAME_REQUEST_TYPE",
    "METHOD_RESPONSE_CHANGED": "RPC_SAME_RESPONSE_TYPE",
}
"""The rule of `buf breaking` that looks at the same thing, where there is one."""


def evolution_object(found: Evolution) -> dict[str, object]:
    """What changed schemas mean, all of it."""
    return {
        "verdict": found.verdict.value,
        "breaking": found.breaking,
        "compared": found.compared,
        "findings": [finding_object(finding) for finding in found.findings],
        "accepted": [finding_object(finding) for finding in found.accepted],
        "additions": [_change_object(change) for change in found.additions],
    }


def finding_object(finding: EvolutionFinding) -> dict[str, object]:
    """One finding: what changed, what it touches, what to do."""
    change = finding.change
    return {
        "severity": change.severity.value,
        **_change_object(change),
        "buf_rule": _BUF_RULES.get(change.rule),
        "key": change.key,
        "used_by": change.used_by or None,
        "fix": change.fix,
        "backward": None if change.undecided else change.backward,
        "forward": None if change.undecided else change.forward,
        "events": finding.events,
        "first": {"global_position": finding.position, "stream": finding.stream}
        if finding.events
        else None,
    }


def _change_object(change: SchemaChange) -> dict[str, object]:
    return {
        "rule": change.rule,
        "event_type": change.event_type,
        "field": change.path,
        "number": change.number,
        "message": change.message,
    }


def find_unused_acceptances(found: Evolution, keys: Sequence[str]) -> Iterator[Diagnostic]:
    """A warning for every key in the settings that accepts nothing."""
    used = {finding.change.key for finding in found.accepted}
    for key in keys:
        if key not in used:
            yield Diagnostic(
                severity="warning",
                code="ACCEPTED_CHANGE_UNUSED",
                message=f"No change has the key {key!r} of schema_accept",
                hint="Remove it, or correct it: eskit schema check --json shows all keys.",
            )


def method_object(method: Method, comments: Mapping[str, str] = NO_COMMENTS) -> dict[str, object]:
    """A method with the fields of its request; `comments` are those of its protos, by full name."""
    return {
        "method": method.path,
        "kind": method.kind,
        "request": descriptor_of(method.request).full_name,
        "response": descriptor_of(method.response).full_name,
        "fields": [asdict(f) for f in describe_fields(descriptor_of(method.request), comments)],
        "options": options_of(method),
        "doc": comments.get(method.full_name, ""),
    }


def options_of(method: Method) -> dict[str, Any]:
    """The custom options of a method, by full name."""
    pool = descriptor_of(method.request).file.pool
    try:
        service = pool.FindServiceByName(method.service)
    except KeyError:  # its request is of a file that does not know the service
        return {}
    return custom_options(service.methods_by_name[method.name])
