"""The lines of an export: one JSON object each, in ASCII.

A header, the audit records of erasures, the schemas of the events, the events in order of their
positions, the commands that are remembered, and a footer with the counts and the SHA-256 of every
byte before it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from eskit.domain.claims import Claim
from eskit.domain.commands import check_command_id
from eskit.domain.events import (
    ERASED,
    MAX_METADATA,
    EventRow,
    Metadata,
    check_metadata,
    check_metadata_size,
    is_erased,
)
from eskit.domain.messages import check_event_type
from eskit.domain.streams import check_stream, check_tenant
from eskit.domain.time import from_microseconds, to_microseconds
from eskit.errors import InvalidArgument, StoreError
from eskit.schema.recorded import EventSchema, check_schema
from eskit.store.appending import MAX_POSITION
from eskit.store.records import CommandRow, Erasure
from eskit.text.unicode import check_text

FORMAT = 1
EXPORT_AGAIN = "Export the log again with store export, from the store that it is of."
"""The hint of an export that is of no use; no command, because the current store is another one."""


class ExportInvalid(StoreError):
    """An export that is cut short, altered, or of a format that this eskit does not know."""

    code = "EXPORT_INVALID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What was exported: of which store, up to which position, all of it or some streams."""

    store_id: str
    head: int
    streams: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What the lines before it must come to."""

    events: int
    commands: int
    erasures: int
    sha256: str


StreamKey: TypeAlias = tuple[str, str]
"""Stream name and tenant."""
Line: TypeAlias = Header | Erasure | EventSchema | EventRow | CommandRow | Footer


def encode_header(header: Header) -> bytes:
    """The first line."""
    streams = [{"stream": stream, "tenant": tenant} for stream, tenant in header.streams]
    return _line(
        "header",
        format=FORMAT,
        store_id=header.store_id,
        head=header.head,
        streams=streams or None,
    )


def encode_erasure(erasure: Erasure) -> bytes:
    """The line of an audit record."""
    return _line(
        "erasure",
        stream=erasure.stream,
        tenant=erasure.tenant,
        version=erasure.version,
        events=erasure.events,
        erased_at=_time_text(erasure.erased_at),
        erased_by=erasure.erased_by,
        reason=erasure.reason,
    )


def encode_schema(schema: EventSchema) -> bytes:
    """The line of an event type's schema."""
    return _line(
        "schema",
        event_type=schema.event_type,
        first_position=schema.first_position,
        schema_id=schema.schema_id,
        files_base64=base64.b64encode(schema.files).decode("ascii"),
    )


def encode_event(record: EventRow) -> bytes:
    """The line of an event; an erased one says so in a key of its own as well."""
    return _line(
        "event",
        global_position=record.global_position,
        stream=record.stream,
        version=record.version,
        event_id=str(UUID(bytes=record.event_id)),
        event_type=record.event_type,
        recorded_at=_time_text(from_microseconds(record.recorded_at)),
        tenant=record.tenant,
        metadata=json.loads(record.metadata or "{}"),
        claims=json.loads(record.claims or "[]"),
        erased=is_erased(record.metadata),
        data_base64=base64.b64encode(record.data).decode("ascii"),
    )


def encode_command(command: CommandRow) -> bytes:
    """The line of a processed command."""
    return _line(
        "command",
        tenant=command.tenant,
        id=command.id,
        fingerprint=command.fingerprint,
        stream=command.stream,
        version=command.version,
        global_position=command.global_position,
        recorded_at=_time_text(from_microseconds(command.recorded_at)),
        response_base64=base64.b64encode(command.response).decode("ascii"),
    )


def encode_footer(footer: Footer) -> bytes:
    """The last line."""
    return _line(
        "footer",
        events=footer.events,
        commands=footer.commands,
        erasures=footer.erasures,
        sha256=footer.sha256,
    )


def decode_line(line: bytes, number: int) -> Line:
    """What a line says; ExportInvalid for one that no export writes."""
    try:
        pairs = json.loads(line)
        return _DECODERS[pairs["kind"]](pairs)
    except ExportInvalid:
        raise
    except InvalidArgument as error:
        raise line_invalid(number, error.message) from error
    except (
        ArithmeticError,  # a time beyond the calendar
        AttributeError,
        KeyError,
        RecursionError,  # lists in lists
        TypeError,
        ValueError,
    ) as error:
        if number == 1:
            raise no_export() from error
        raise line_invalid(number) from error


def line_invalid(number: int, problem: str = "") -> ExportInvalid:
    """The error for a line that no export has."""
    because = f": {problem}" if problem else ""
    return ExportInvalid(f"Line {number} is not a line of an export{because}", hint=EXPORT_AGAIN)


def no_export() -> ExportInvalid:
    """The error for a file that is something else from its beginning."""
    return ExportInvalid(
        "This is not an export of an event store",
        hint="Import a file that store export has written.",
    )


def _line(kind: str, **pairs: object) -> bytes:
    return (json.dumps({"kind": kind, **pairs}, separators=(",", ":")) + "\n").encode()


def _compact(value: object) -> str:
    """JSON as the store keeps it, so that metadata and claims come back letter for letter."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _header(pairs: Mapping[str, Any]) -> Header:
    if pairs["format"] != FORMAT:
        raise ExportInvalid(
            f"The export has format {pairs['format']}, this eskit knows {FORMAT}",
            hint="Upgrade eskit: pip install --upgrade eskit",
        )
    return Header(
        store_id=str(UUID(pairs["store_id"])),
        head=_number(pairs, "head"),
        streams=tuple(_stream(pair) for pair in pairs["streams"] or ()),
    )


def _erasure(pairs: Mapping[str, Any]) -> Erasure:
    stream, tenant = _stream(pairs)
    return Erasure(
        stream=stream,
        tenant=tenant,
        version=_number(pairs, "version", least=1),
        events=_number(pairs, "events"),
        erased_at=from_microseconds(_microseconds(pairs["erased_at"])),
        erased_by=_text(pairs, "erased_by"),
        reason=_text(pairs, "reason"),
    )


def _schema(pairs: Mapping[str, Any]) -> EventSchema:
    schema = EventSchema(
        event_type=check_event_type(pairs["event_type"]),
        first_position=_number(pairs, "first_position"),
        schema_id=_text(pairs, "schema_id"),
        files=base64.b64decode(pairs["files_base64"], validate=True),
    )
    check_schema(schema)
    return schema


def _event(pairs: Mapping[str, Any]) -> EventRow:
    stream, tenant = _stream(pairs)
    metadata, claims = _metadata(pairs), _claims(pairs)
    data = base64.b64decode(pairs["data_base64"], validate=True)
    if pairs["erased"] is not is_erased(metadata) or (is_erased(metadata) and (data or claims)):
        raise InvalidArgument("it is erased in part only")
    return EventRow(
        global_position=_number(pairs, "global_position", least=1),
        stream=stream,
        version=_number(pairs, "version", least=1),
        event_id=UUID(pairs["event_id"]).bytes,
        event_type=check_event_type(pairs["event_type"]),
        recorded_at=_microseconds(pairs["recorded_at"]),
        tenant=tenant,
        metadata=metadata,
        data=data,
        claims=claims,
    )


def _command(pairs: Mapping[str, Any]) -> CommandRow:
    stream, tenant = _stream(pairs)
    return CommandRow(
        tenant=tenant,
        id=check_command_id(pairs["id"]),
        fingerprint=_text(pairs, "fingerprint"),
        stream=stream,
        version=_number(pairs, "version"),
        global_position=_number(pairs, "global_position"),
        recorded_at=_microseconds(pairs["recorded_at"]),
        response=base64.b64decode(pairs["response_base64"], validate=True),
    )


def _footer(pairs: Mapping[str, Any]) -> Footer:
    return Footer(
        events=_number(pairs, "events"),
        commands=_number(pairs, "commands"),
        erasures=_number(pairs, "erasures"),
        sha256=_text(pairs, "sha256"),
    )


_DECODERS: Mapping[str, Callable[[Mapping[str, Any]], Line]] = {
    "header": _header,
    "erasure": _erasure,
    "schema": _schema,
    "event": _event,
    "command": _command,
    "footer": _footer,
}


def _text(pairs: Mapping[str, Any], key: str) -> str:
    value = pairs[key]
    if not isinstance(value, str):
        raise InvalidArgument(f"its {key} is no text")
    check_text(value, f"Its {key}")
    return value


def _number(pairs: Mapping[str, Any], key: str, *, least: int = 0) -> int:
    value = pairs[key]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_POSITION:
        raise InvalidArgument(f"its {key} is no number from {least} on")
    return value


def _stream(pairs: Mapping[str, Any]) -> StreamKey:
    return check_stream(pairs["stream"]), check_tenant(pairs["tenant"])


def _metadata(pairs: Mapping[str, Any]) -> str:
    """As the store keeps it; what this eskit does not know may be any text."""
    found: dict[str, Any] = dict(pairs["metadata"])
    if not found:
        return ""
    text = _compact(found)
    check_metadata_size(text, most=MAX_METADATA + len(ERASED))
    if is_erased(text):
        found.pop("erased")
    custom = found.pop("custom", {})
    check_metadata(Metadata(custom={**dict(custom), **found}))
    return text


def _claims(pairs: Mapping[str, Any]) -> str | None:
    found = pairs["claims"]
    if not isinstance(found, list):
        raise InvalidArgument("its claims are no list")
    for operation, index, value in found:
        if operation not in {"claim", "release"}:
            raise InvalidArgument(f"{operation!r:.100} is nothing that is done with a claim")
        Claim(operation, index, value)
    return _compact(found) if found else None


def _microseconds(text: str) -> int:
    found = to_microseconds(datetime.fromisoformat(text))
    if found < 0:
        raise InvalidArgument(f"{text!r:.100} is before 1970")
    return found


def _time_text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
