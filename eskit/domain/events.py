"""Events before they are recorded (`NewEvent`) and after (`RecordedEvent`)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf.message import Message

from eskit.domain.ids import new_id_bytes, uuid_bytes, uuid_text
from eskit.domain.messages import decode, encode, message_type
from eskit.domain.time import from_microseconds
from eskit.errors import EventErased, InvalidArgument, StoreDamaged
from eskit.text.unicode import check_text

if TYPE_CHECKING:
    from eskit.domain.claims import Claim

TRACEPARENT = "traceparent"
"""Where an event's custom metadata has the W3C trace context it was recorded in."""

MAX_METADATA = 16_000
"""Bytes of an event's metadata as JSON: percent-encoded it has to fit the headers of NATS."""
MAX_TRACEPARENT = 512
"""Letters of a trace context, which goes into a header of its own besides; W3C's has 55."""

_NO_CUSTOM: Mapping[str, str] = {}
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
_CLAIMS = 9
"""Behind what readers see of a row: only the store knows the claims."""
ERASED = '{"erased":true'
"""How the metadata of an erased event begins, and that of no other event."""


class Metadata(NamedTuple):
    """Who and what caused an event; `custom` holds the user's own string pairs."""

    correlation_id: str = ""
    causation_id: str = ""
    command_id: str = ""
    principal_id: str = ""
    custom: Mapping[str, str] = _NO_CUSTOM

    def to_json(self) -> str:
        """The fields that are set, as a compact JSON object; empty text for none."""
        if not any(self):
            return ""
        pairs: dict[str, Any] = {}
        if self.correlation_id:
            pairs["correlation_id"] = self.correlation_id
        if self.causation_id:
            pairs["causation_id"] = self.causation_id
        if self.command_id:
            pairs["command_id"] = self.command_id
        if self.principal_id:
            pairs["principal_id"] = self.principal_id
        if self.custom:
            pairs["custom"] = dict(self.custom)
        return _encode(pairs)

    @classmethod
    def from_json(cls, text: str) -> Metadata:
        """The inverse of `to_json`; keys that this version does not know are passed over."""
        if not text:
            return cls()
        pairs = json.loads(text)
        return cls(
            correlation_id=pairs.get("correlation_id", ""),
            causation_id=pairs.get("causation_id", ""),
            command_id=pairs.get("command_id", ""),
            principal_id=pairs.get("principal_id", ""),
            custom=pairs.get("custom", _NO_CUSTOM),
        )


_NO_METADATA = Metadata()


def stored_metadata(metadata: Metadata) -> str:
    """Metadata as it is stored; InvalidArgument for what is no text, or too long for a header."""
    check_metadata(metadata)
    json_text = metadata.to_json()
    check_metadata_size(json_text)
    return json_text


def check_metadata(metadata: Metadata) -> None:
    """Raise InvalidArgument for metadata that is no text, or too long a trace context."""
    texts: list[object] = [metadata]
    with contextlib.suppress(AttributeError, LookupError, TypeError):
        texts = [*metadata[:4], *metadata.custom, *metadata.custom.values()]
    for text in texts:
        if not isinstance(text, str):
            raise InvalidArgument(
                f"Metadata holds {text!r:.200}, which is no text",
                hint="Ids are texts, and custom pairs of texts: write numbers as text.",
            )
    if len(metadata.custom.get(TRACEPARENT, "")) > MAX_TRACEPARENT:
        raise InvalidArgument(
            f"The {TRACEPARENT} in the metadata is too long",
            hint=f"It has at most {MAX_TRACEPARENT} letters: pass on that of W3C.",
        )


def check_metadata_size(json_text: str, *, most: int = MAX_METADATA) -> None:
    """Raise InvalidArgument for metadata that is too long, or no Unicode."""
    if (size := check_text(json_text, "Metadata")) > most:
        raise InvalidArgument(
            f"Metadata of {size:,} bytes is too long",
            hint=f"It has at most {most:,} as JSON; large data belongs in the event.",
        )


def is_erased(metadata: str) -> bool:
    """Whether stored metadata is that of an erased event."""
    return metadata.startswith(ERASED)


def erased_metadata(metadata: str) -> str:
    """What is left of stored metadata when its event is erased: the mark and the ids.

    The principal and the user's own pairs go, because they may name a person.
    """
    known = Metadata.from_json(metadata)
    ids = Metadata(
        correlation_id=known.correlation_id,
        causation_id=known.causation_id,
        command_id=known.command_id,
    ).to_json()
    return f"{ERASED},{ids[1:]}" if ids else f"{ERASED}}}"


class NewEvent:
    """An event to append: any protobuf message, with its metadata and claims.

    Message and metadata are serialised when the event is made, so changing them afterwards
    changes nothing. `event_id` is a UUID as text; by default a new version 7 one, made when it is
    first asked for, at the latest when the event is appended. Raises InvalidArgument for an id that
    is no UUID, a message that could not be read again, and metadata that is no text or too long.
    """

    __slots__ = ("claims", "data", "event_type", "known_id", "message", "metadata", "metadata_json")

    def __init__(
        self,
        message: Message,
        *,
        metadata: Metadata = _NO_METADATA,
        claims: Iterable[Claim] = (),
        event_id: str = "",
    ) -> None:
        self.data: Final = encode(message)
        self.message: Final = message
        self.event_type: Final = message_type(type(message))
        self.metadata: Final = metadata
        self.metadata_json: Final = "" if metadata is _NO_METADATA else stored_metadata(metadata)
        self.claims: Final = _checked(claims) if claims else ()
        self.known_id = _id_bytes(event_id) if event_id else b""
        """Its id if it was given one, asked for it or appended before; else empty."""

    @property
    def id_bytes(self) -> bytes:
        """The 16 bytes of its id."""
        if not self.known_id:
            self.known_id = new_id_bytes()
        return self.known_id

    @property
    def event_id(self) -> str:
        """Its id as text."""
        return uuid_text(self.id_bytes)

    def __repr__(self) -> str:
        return f"NewEvent({self.event_type} {self.event_id})"


def _checked(claims: Iterable[Claim]) -> tuple[Claim, ...]:
    from eskit.domain.claims import Claim  # dataclasses cost as much as all of eskit's own

    try:
        changes = tuple(claims)
    except TypeError:
        changes = (claims,)  # type: ignore[assignment]
    for change in changes:
        if not isinstance(change, Claim):
            raise InvalidArgument(
                f"{change!r:.200} is no claim", hint="Make one with claim() or release()."
            )
    return changes


def _id_bytes(event_id: str) -> bytes:
    try:
        return uuid_bytes(event_id)
    except (ValueError, TypeError, AttributeError):
        raise InvalidArgument(
            f"{event_id!r} is not an event id", hint="An event id is a UUID as text."
        ) from None


class EventRow(NamedTuple):
    """An event exactly as a store keeps it; made by the million.

    `event_id` is 16 bytes, `recorded_at` microseconds since 1970 UTC, `metadata` the JSON of
    `Metadata.to_json`, `claims` JSON as well, None for an event without.
    """

    global_position: int
    stream: str
    version: int
    event_id: bytes
    event_type: str
    recorded_at: int
    tenant: str
    metadata: str
    data: bytes
    claims: str | None = None

    @classmethod
    def of(cls, row: EventRow) -> EventRow:
        """The row itself."""
        return row

    def erased(self) -> EventRow:
        """What is left of the event when it is erased."""
        if is_erased(self.metadata):
            return self
        return self._replace(metadata=erased_metadata(self.metadata), data=b"", claims=None)


class FoldRow(NamedTuple):
    """All that folding needs of an event.

    Reading less is reading faster: with every column loads take half as long again.
    """

    version: int
    event_type: str
    recorded_at: int
    metadata: str
    data: bytes

    @classmethod
    def of(cls, row: EventRow) -> FoldRow:
        """The part of an event that folding needs."""
        return cls(row.version, row.event_type, row.recorded_at, row.metadata, row.data)


class LogRow(NamedTuple):
    """All that a projection needs of an event; an erased one has no data."""

    global_position: int
    event_id: bytes
    event_type: str
    data: bytes | None

    @classmethod
    def of(cls, row: EventRow) -> LogRow:
        """The part of an event that a projection needs."""
        data = None if not row.data and is_erased(row.metadata) else row.data
        return cls(row.global_position, row.event_id, row.event_type, data)


class RecordedEvent:
    """An event as the store holds it.

    What its properties return is made of the row only when it is asked for, as is `message`.
    """

    __slots__ = ("_message", "row")

    def __init__(self, row: EventRow) -> None:
        self.row: Final = row
        """The event as a store reads it."""
        self._message: Message | None = None

    @property
    def global_position(self) -> int:
        """Its place in the whole log."""
        return self.row.global_position

    @property
    def stream(self) -> str:
        """The stream it belongs to."""
        return self.row.stream

    @property
    def version(self) -> int:
        """Its place in the stream, from 1."""
        return self.row.version

    @property
    def event_id(self) -> str:
        """A UUID as text."""
        event_id: object = self.row.event_id
        # A damaged row may hold anything; `eskit store verify` tells of it, not whoever reads.
        return uuid_text(event_id) if isinstance(event_id, bytes) else str(event_id)

    @property
    def event_type(self) -> str:
        """The full name of its message."""
        return self.row.event_type

    @property
    def recorded_at(self) -> datetime:
        """When the store recorded it: aware UTC, microseconds.

        Raises StoreDamaged where something stands that is no time.
        """
        try:
            return from_microseconds(self.row.recorded_at)
        except (OverflowError, TypeError) as error:
            raise StoreDamaged(
                f"{self.row.recorded_at!r:.100} is kept as the time of the event at "
                f"{self.row.global_position:,}",
                hint="Check the store: eskit store verify",
            ) from error

    @property
    def tenant(self) -> str:
        """The tenant of its stream; empty for none."""
        return self.row.tenant

    @property
    def metadata(self) -> Metadata:
        """Who and what caused it."""
        return Metadata.from_json(self.row.metadata)

    @property
    def data(self) -> bytes:
        """The payload as it was stored."""
        return self.row.data

    @property
    def erased(self) -> bool:
        """Whether its payload was erased for good; stream, version, type and time are left."""
        return is_erased(self.row.metadata)

    @property
    def message(self) -> Message:
        """The payload as the class of its event type, decoded once, on first use.

        Raises UnknownEventType when no loaded module defines the type, and EventErased when the
        payload was erased.
        """
        if self._message is None:
            row = self.row
            if is_erased(row.metadata):
                raise EventErased(row.stream, row.version)
            self._message = decode(row.event_type, row.data)
        return self._message

    def __repr__(self) -> str:
        return (
            f"RecordedEvent({self.global_position}, {self.stream!r} version {self.version}, "
            f"{self.event_type})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordedEvent):
            return NotImplemented
        return self.row[:_CLAIMS] == other.row[:_CLAIMS]

    def __hash__(self) -> int:
        return hash(self.row.event_id)
