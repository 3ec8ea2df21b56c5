"""The lines of an export: one JSON object each, in ASCII.

A header, the audit records of erasures, the schemas of the events, the events in order of their
positions, the commands that are remembered, and a footer with the counts and the SHA-256 of every
byte before it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from eskit.domain.events import is_erased
from eskit.errors import ExportInvalid
from eskit.schema.recorded import EventSchema
from eskit.store.maintenance import CommandRow, Erasure, EventRecord

FORMAT = 1
EXPORT_AGAIN = "Export the log again with store export, from the store that it is of."
"""The hint of an export that is of no use; no command, for the store at hand is another one."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


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


Line: TypeAlias = Header | Erasure | EventSchema | EventRecord | CommandRow | Footer


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


def encode_event(record: EventRecord) -> bytes:
    """The line of an event; an erased one says so in a key of its own as well."""
    return _line(
        "event",
        global_position=record.global_position,
        stream=record.stream,
        version=record.version,
        event_id=str(UUID(bytes=record.event_id)),
        event_type=record.event_type,
        recorded_at=_time_text(_EPOCH + record.recorded_at * _MICROSECOND),
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
        recorded_at=_time_text(_EPOCH + command.recorded_at * _MICROSECOND),
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
    """What a line says; ExportInvalid for one that nobody exported."""
    try:
        pairs = json.loads(line)
        return _DECODERS[pairs["kind"]](pairs)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        if number == 1:
            raise no_export() from error
        raise ExportInvalid(
            f"Line {number} is not a line of an export",
            hint=EXPORT_AGAIN,
        ) from error


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
        head=int(pairs["head"]),
        streams=tuple((pair["stream"], pair["tenant"]) for pair in pairs["streams"] or ()),
    )


def _erasure(pairs: Mapping[str, Any]) -> Erasure:
    return Erasure(
        stream=str(pairs["stream"]),
        tenant=str(pairs["tenant"]),
        version=int(pairs["version"]),
        events=int(pairs["events"]),
        erased_at=datetime.fromisoformat(pairs["erased_at"]),
        erased_by=str(pairs["erased_by"]),
        reason=str(pairs["reason"]),
    )


def _schema(pairs: Mapping[str, Any]) -> EventSchema:
    return EventSchema(
        event_type=str(pairs["event_type"]),
        first_position=int(pairs["first_position"]),
        schema_id=str(pairs["schema_id"]),
        files=base64.b64decode(pairs["files_base64"], validate=True),
    )


def _event(pairs: Mapping[str, Any]) -> EventRecord:
    metadata: Mapping[str, object] = pairs["metadata"]
    claims: Sequence[Sequence[str]] = pairs["claims"]
    return EventRecord(
        global_position=int(pairs["global_position"]),
        stream=str(pairs["stream"]),
        version=int(pairs["version"]),
        event_id=UUID(pairs["event_id"]).bytes,
        event_type=str(pairs["event_type"]),
        recorded_at=_microseconds(pairs["recorded_at"]),
        tenant=str(pairs["tenant"]),
        metadata=_compact(metadata) if metadata else "",
        data=base64.b64decode(pairs["data_base64"], validate=True),
        claims=_compact(claims) if claims else None,
    )


def _command(pairs: Mapping[str, Any]) -> CommandRow:
    return CommandRow(
        tenant=str(pairs["tenant"]),
        id=str(pairs["id"]),
        fingerprint=str(pairs["fingerprint"]),
        stream=str(pairs["stream"]),
        version=int(pairs["version"]),
        global_position=int(pairs["global_position"]),
        recorded_at=_microseconds(pairs["recorded_at"]),
        response=base64.b64decode(pairs["response_base64"], validate=True),
    )


def _footer(pairs: Mapping[str, Any]) -> Footer:
    return Footer(
        events=int(pairs["events"]),
        commands=int(pairs["commands"]),
        erasures=int(pairs["erasures"]),
        sha256=str(pairs["sha256"]),
    )


_DECODERS: Mapping[str, Callable[[Mapping[str, Any]], Line]] = {
    "header": _header,
    "erasure": _erasure,
    "schema": _schema,
    "event": _event,
    "command": _command,
    "footer": _footer,
}


def _microseconds(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND


def _time_text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
