"""Events before they are recorded (`NewEvent`) and after (`RecordedEvent`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from google.protobuf.message import Message

from eskit.domain.claims import Claim
from eskit.domain.ids import new_id
from eskit.domain.messages import decode, message_type
from eskit.errors import EventErased

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_CUSTOM: Mapping[str, str] = {}
_ERASED = '{"erased":true'
"""How the metadata of an erased event begins, and that of no other event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Who and what caused an event; `custom` holds the user's own string pairs."""

    correlation_id: str = ""
    causation_id: str = ""
    command_id: str = ""
    principal_id: str = ""
    custom: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The fields that are set, as a compact JSON object."""
        pairs: dict[str, Any] = {
            name: value
            for name in ("correlation_id", "causation_id", "command_id", "principal_id")
            if (value := getattr(self, name))
        }
        if self.custom:
            pairs["custom"] = dict(self.custom)
        return json.dumps(pairs, separators=(",", ":"), ensure_ascii=False) if pairs else ""

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


def is_erased(metadata: str) -> bool:
    """Whether stored metadata is that of an erased event."""
    return metadata.startswith(_ERASED)


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
    return f"{_ERASED},{ids[1:]}" if ids else f"{_ERASED}}}"


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to append: any protobuf message, with its metadata and claims.

    The message is serialised when the event is made, so changing it afterwards changes
    nothing. `event_id` is a UUID as text; by default a new version 7 one.
    """

    message: Message
    metadata: Metadata = field(default_factory=Metadata, kw_only=True)
    claims: tuple[Claim, ...] = field(default=(), kw_only=True)
    event_id: str = field(default="", kw_only=True)
    event_type: str = field(init=False)
    data: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "claims", tuple(self.claims))
        object.__setattr__(self, "event_id", self.event_id or new_id())
        object.__setattr__(self, "event_type", message_type(self.message))
        object.__setattr__(
            self, "data", type(self.message).SerializeToString(self.message, deterministic=True)
        )


EventRow: TypeAlias = tuple[int, str, int, str | bytes, str, int, str, str, bytes]
"""What a store reads for one event, in the order of RecordedEvent's arguments."""


class RecordedEvent:
    """An event as the store holds it.

    `event_id` is passed as text or as its 16 bytes, `recorded_at` as whole microseconds since
    1970 UTC and `metadata` as the JSON text of `Metadata.to_json`; they are turned into what
    the properties return only when asked for, as is `message`.
    """

    __slots__ = (
        "_event_id",
        "_message",
        "_metadata",
        "_recorded_at",
        "data",
        "event_type",
        "global_position",
        "stream",
        "tenant",
        "version",
    )

    def __init__(
        self,
        global_position: int,
        stream: str,
        version: int,
        event_id: str | bytes,
        event_type: str,
        recorded_at: int,
        tenant: str,
        metadata: str,
        data: bytes,
    ) -> None:
        self.global_position = global_position
        self.stream = stream
        self.version = version
        self._event_id = event_id
        self.event_type = event_type
        self._recorded_at = recorded_at
        self.tenant = tenant
        self._metadata = metadata
        self.data = data
        self._message: Message | None = None

    @property
    def event_id(self) -> str:
        """A UUID as text."""
        if isinstance(self._event_id, bytes):
            self._event_id = str(UUID(bytes=self._event_id))
        return self._event_id

    @property
    def recorded_at(self) -> datetime:
        """When the store recorded it: aware UTC, microseconds."""
        return _EPOCH + timedelta(microseconds=self._recorded_at)

    @property
    def metadata(self) -> Metadata:
        """Who and what caused it."""
        return Metadata.from_json(self._metadata)

    @property
    def erased(self) -> bool:
        """Whether its payload was erased for good; stream, version, type and time are left."""
        return is_erased(self._metadata)

    @property
    def message(self) -> Message:
        """The payload as the class of its event type, decoded once, on first use.

        Raises UnknownEventType when no loaded module defines the type, and EventErased when the
        payload was erased.
        """
        if self._message is None:
            if self.erased:
                raise EventErased(self.stream, self.version)
            self._message = decode(self.event_type, self.data)
        return self._message

    def __repr__(self) -> str:
        return (
            f"RecordedEvent({self.global_position}, {self.stream!r} version {self.version}, "
            f"{self.event_type})"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordedEvent):
            return NotImplemented
        return self.row == other.row

    def __hash__(self) -> int:
        return hash(self.event_id)

    @property
    def row(self) -> EventRow:
        """The event as a store reads it."""
        return (
            self.global_position,
            self.stream,
            self.version,
            self.event_id,
            self.event_type,
            self._recorded_at,
            self.tenant,
            self._metadata,
            self.data,
        )
