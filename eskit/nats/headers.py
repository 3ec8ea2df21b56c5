"""Recorded events as NATS messages: subjects and CloudEvents headers.

Binary mode of the CloudEvents NATS binding, as drafted for 1.0.3 (the released 1.0.2 knows only
structured mode): attributes are headers with the prefix ``ce-``, values percent-encoded as in
section 3.1.3.2 of the HTTP binding, and the body is the payload.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from eskit.domain.events import TRACEPARENT, EventRow, Metadata, RecordedEvent, erased_metadata
from eskit.domain.ids import uuid_bytes
from eskit.domain.streams import category_of
from eskit.domain.time import to_microseconds
from eskit.errors import MessagingError

CONTENT_TYPE = "application/protobuf"
MESSAGE_ID = "Nats-Msg-Id"
_SPEC_VERSION = "1.0"
_METADATA = frozenset({"ce-metadata", "ce-correlationid", "ce-causationid", "ce-erased"})
_PLAIN = re.compile(r"[!#$&-~]*\Z")
"""Printable ASCII without space, double quote and percent: what needs no encoding."""
_PLAIN_HEADER = re.compile(r"(?:\A|(?<=\n))([!-9;-~]+): ([!-~]*)\r\n")
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
_ESCAPES = {code: f"%{code:02X}" for code in range(0x80) if chr(code) not in _SAFE}


class NotAnEvent(MessagingError):
    """A message that does not carry the headers of an eskit event."""

    code = "NOT_AN_EVENT"


def source_of(app_name: str, store_id: str) -> str:
    """The ``ce-source`` of everything that one store's relay publishes."""
    return f"/{quote(app_name, safe='')}/{store_id}"


def app_of(source: str) -> str:
    """The part of a ``ce-source`` that all stores of one app have in common."""
    return source.rpartition("/")[0]


def subject_of(event: RecordedEvent, prefix: str) -> str:
    """``events.Account.account.v1.AccountOpenedEvent``; a tenant's below ``tenants.<tenant>``."""
    subject = f"{prefix}.{category_of(event.stream)}.{event.event_type}"
    return f"tenants.{tenant_token(event.tenant)}.{subject}" if event.tenant else subject


def tenant_token(tenant: str) -> str:
    """A tenant as one token of a subject; a dot, which would end the token, is ``%2E``."""
    return tenant.replace(".", "%2E")


def stream_subjects(prefix: str) -> list[str]:
    """What the JetStream stream listens to."""
    return [f"{prefix}.>", f"tenants.*.{prefix}.>"]


def filter_subjects(
    prefix: str,
    *,
    aggregates: Sequence[str] = (),
    event_types: Sequence[str] = (),
    tenants: Sequence[str] = (),
) -> list[str]:
    """The subjects that let the wanted events pass; nothing when everything may pass.

    A type without a package cannot be told apart by subject and is left to the reader.
    """
    types = sorted(set(event_types)) if all("." in name for name in event_types) else []
    if not (aggregates or types or tenants):
        return []
    scopes = [f"tenants.{tenant_token(name)}." if name else "" for name in sorted(set(tenants))]
    return [
        f"{scope}{prefix}.{aggregate}.{event_type}"
        for scope in scopes or ["", "tenants.*."]
        for aggregate in sorted(set(aggregates)) or ["*"]
        for event_type in types or [">"]
    ]


def encode_headers(event: RecordedEvent, source: str) -> dict[str, str]:
    """The headers of the message that publishes `event`; those with no value are left out."""
    metadata, event_id = event.metadata, event.event_id
    headers = {
        MESSAGE_ID: event_id,
        "ce-specversion": _SPEC_VERSION,
        "ce-id": event_id,
        "ce-source": source,
        "ce-type": event.event_type,
        "ce-subject": encode_value(event.stream),
        "ce-time": event.recorded_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "ce-datacontenttype": CONTENT_TYPE,
        "ce-streamversion": str(event.version),
        "ce-globalposition": str(event.global_position),
    }
    if metadata.correlation_id:
        headers["ce-correlationid"] = encode_value(metadata.correlation_id)
    if metadata.causation_id:
        headers["ce-causationid"] = encode_value(metadata.causation_id)
    if event.erased:
        headers["ce-erased"] = "true"
    if event.tenant:
        headers["ce-tenant"] = event.tenant
    if own := _own_pairs(metadata):
        headers["ce-metadata"] = encode_value(own)
    traceparent = metadata.custom.get(TRACEPARENT)
    if isinstance(traceparent, str) and traceparent:
        headers[TRACEPARENT] = encode_value(traceparent)
    return headers


def decode_event(headers: Mapping[str, str] | None, data: bytes) -> RecordedEvent:
    """The event that a message carries, equal to the one in the store.

    Raises NotAnEvent for a message that no relay has published.
    """
    headers = headers or {}
    try:
        return RecordedEvent(
            EventRow(
                int(headers["ce-globalposition"]),
                unquote(headers["ce-subject"]),
                int(headers["ce-streamversion"]),
                uuid_bytes(headers["ce-id"]),
                headers["ce-type"],
                _microseconds(headers["ce-time"]),
                headers.get("ce-tenant", ""),
                _metadata_text(headers),
                data,
            )
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise NotAnEvent(
            f"A message without the headers of an event: {error}",
            hint="Something other than eskit's relay publishes to this stream.",
        ) from error


def header_lines(text: str) -> Iterator[tuple[str, str]]:
    """The headers in the raw text of a stored message (``NATS/1.0`` and lines of pairs)."""
    for line in text.split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()


def plain_headers(raw: bytes) -> dict[str, str] | None:
    """The headers of a message from the bytes behind its first line, if all of them are plain.

    Plain is ``name: value`` of printable ASCII without another space, such as all of an event's.
    """
    text = raw.decode("latin-1")
    found = _PLAIN_HEADER.findall(text)
    return dict(found) if len(found) + 1 == text.count("\n") else None


def encode_value(value: str) -> str:
    """A header value that is safe on the wire; plain ASCII text stays as it is."""
    if _PLAIN.match(value):
        return value
    return value.translate(_ESCAPES) if value.isascii() else quote(value, safe=_SAFE)


def _own_pairs(metadata: Metadata) -> str:
    """What has no header of its own, as JSON."""
    if not (metadata.command_id or metadata.principal_id or metadata.custom):
        return ""
    return Metadata(
        command_id=metadata.command_id,
        principal_id=metadata.principal_id,
        custom=metadata.custom,
    ).to_json()


def _metadata_text(headers: Mapping[str, str]) -> str:
    if _METADATA.isdisjoint(headers):
        return ""
    own = headers.get("ce-metadata")
    text = (
        Metadata.from_json(unquote(own) if own else "")
        ._replace(
            correlation_id=unquote(headers.get("ce-correlationid", "")),
            causation_id=unquote(headers.get("ce-causationid", "")),
        )
        .to_json()
    )
    return erased_metadata(text) if headers.get("ce-erased") == "true" else text


def _microseconds(text: str) -> int:
    time = datetime.fromisoformat(text)
    return to_microseconds(time if time.tzinfo is not None else time.replace(tzinfo=UTC))
