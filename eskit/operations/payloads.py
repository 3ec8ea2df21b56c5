"""Whether payloads can be decoded: by loaded message classes, else by recorded schemas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from google.protobuf.message import DecodeError, Message

from eskit.domain.events import EventRow
from eskit.domain.messages import PayloadInvalid, message_class
from eskit.errors import UnknownEventType
from eskit.operations.findings import Finding, Findings, Severity
from eskit.schema.recorded import EventSchema, RecordedSchemaInvalid, RecordedSchemas


@dataclass(slots=True)
class _UnknownType:
    """The events of a type without a message class or schema."""

    first: EventRow
    count: int = 0


class Payloads:
    """Decodes payload after payload and counts how it went.

    A type that no loaded module defines is decoded with the schema the store keeps of it.
    """

    def __init__(self, schemas: Sequence[EventSchema], findings: Findings) -> None:
        self._schemas = RecordedSchemas(schemas)
        self._findings = findings
        self._parsers: dict[str, Callable[[bytes], Message] | None] = {}
        self._unknown: dict[str, _UnknownType] = {}
        self.decoded = self.by_recorded_schema = self.undecoded = 0
        for schema in schemas:
            self._check_schema(schema)

    def check(self, record: EventRow) -> None:
        """Decode one payload; what is wrong with it becomes a finding."""
        parse = self._parser(record.event_type)
        try:
            if parse is not None:
                parse(record.data)
            else:
                self._schemas.decode(
                    record.event_type, record.data, position=record.global_position
                )
                self.by_recorded_schema += 1
            self.decoded += 1
        except UnknownEventType:
            self.undecoded += 1
            self._unknown.setdefault(record.event_type, _UnknownType(record)).count += 1
        except RecordedSchemaInvalid as error:
            self.undecoded += 1
            self._found(record, "unknown", error.code, error.message, hint=error.hint)
        except (DecodeError, PayloadInvalid, TypeError, ValueError):
            self.undecoded += 1
            message = (
                f"The payload at {record.global_position:,} does not parse as {record.event_type}"
            )
            hint = f"See it: eskit stream read {record.stream}"
            self._found(record, "error", "PAYLOAD_DAMAGED", message, hint=hint)

    def report_unknown_types(self) -> None:
        """Every type that could not be decoded, once."""
        for event_type, unknown in sorted(self._unknown.items()):
            several = unknown.count > 1
            self._found(
                unknown.first,
                "unknown",
                UnknownEventType.code,
                f"Nothing here defines the event type {event_type}: "
                f"{unknown.count:,} {'payloads were' if several else 'payload was'} not decoded",
                hint="Run it in the project whose code defines the type, or run: eskit gen",
            )

    def _parser(self, event_type: str) -> Callable[[bytes], Message] | None:
        if event_type not in self._parsers:
            try:
                self._parsers[event_type] = message_class(event_type).FromString
            except UnknownEventType:
                self._parsers[event_type] = None
        return self._parsers[event_type]

    def _check_schema(self, schema: EventSchema) -> None:
        if sha256(schema.files).hexdigest() != schema.schema_id:
            self._findings.add(
                Finding(
                    severity="error",
                    code="SCHEMA_DAMAGED",
                    message=f"The schema kept of {schema.event_type} is not what was recorded",
                    hint="Restore the store from a backup.",
                    position=schema.first_position,
                )
            )

    def _found(
        self, record: EventRow, severity: Severity, code: str, message: str, *, hint: str = ""
    ) -> None:
        self._findings.add(
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
