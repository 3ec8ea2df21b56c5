"""What a store keeps beside events, row by row: commands, claims, and what followers have left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from eskit.schema.recorded import EventSchema

RELAY_CHECKPOINT = "relay"
"""The name under which the relay keeps how far it has published."""
RELAY_STREAM_CHECKPOINT = "relay-stream"
"""Where that went: `event_id` holds when that stream was created. No place in the log."""
FOLLOWER = "follower"
"""The kind of the records that say how far followers are: `low` is up to where each has passed."""
LETTER = "dead letter"
"""The kind of the records of events that followers have set aside; see `letter_key`."""

EARLIER, REACTIONS = "earlier", "reactions"
"""Kind and key of the record of a log whose reactions have kept, or may have kept, their places
elsewhere: its `position` is up to where they may have come."""


_DIGITS = 19


def letter_key(name: str, position: int) -> str:
    """The key of the record of an event that a follower has set aside."""
    return f"{name} {position:0{_DIGITS}}"


def position_of_letter(key: str) -> int:
    """The position of the event that a record of such a key is about."""
    return int(key.rpartition(" ")[2])


class CommandRow(NamedTuple):
    """A processed command exactly as it is remembered; `recorded_at` like that of an event."""

    tenant: str
    id: str
    fingerprint: str
    stream: str
    version: int
    global_position: int
    recorded_at: int
    response: bytes


class ClaimRow(NamedTuple):
    """A unique value and the stream that holds it. Claims sort by tenant, index and value."""

    tenant: str
    index_name: str
    value: str
    stream: str


class EventType(NamedTuple):
    """A type that events of the log have."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """One stream in a listing."""

    stream: str
    tenant: str
    category: str
    version: int
    first_recorded_at: datetime
    last_recorded_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a follower keeps with the log under a kind and a key; `value` is JSON.

    `revision` grows by one with every change, from 1 on.
    """

    kind: str
    key: str
    value: str
    revision: int
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The last event a subscription has passed: of which store, where, and which event."""

    name: str
    store_id: str
    position: int
    event_id: str
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """The audit record of an erased stream: `version` is the last one that was erased.

    `events` counts what this erasure blanked; those blanked before it are not counted again.
    """

    stream: str
    tenant: str
    version: int
    events: int
    erased_at: datetime
    erased_by: str
    reason: str

    def of(self, *, version: int, events: int) -> Erasure:
        """The record to keep when so many events up to a version were blanked.

        One that has a number of events already tells of an erasure elsewhere: it stays as it is.
        """
        return self if self.events else replace(self, version=version, events=events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state of a stream after the event that has `version` and `event_id`.

    `schema` identifies the shape of the state and `fold_version` the rules that folded it: only
    code with the same of both reads the snapshot. `checksum` is that of `state`. One that is not
    `readable` is a damaged row: stream, tenant and version are all that it tells.
    """

    stream: str
    tenant: str
    version: int
    event_id: str
    schema: str
    fold_version: int
    created_at: datetime
    checksum: str
    state: bytes
    readable: bool = True


KEYS: Mapping[type, Callable[[Any], tuple[Any, ...]]] = {
    Checkpoint: lambda row: (row.name,),
    ClaimRow: lambda row: row[:3],
    CommandRow: lambda row: (row.tenant, row.id),
    Erasure: lambda row: (row.erased_at, row.stream, row.tenant),
    EventSchema: lambda row: (row.first_position, row.event_type),
    EventType: lambda row: row,
    Record: lambda row: (row.kind, row.key),
    Snapshot: lambda row: (row.stream, row.tenant, row.version),
    StreamInfo: lambda row: (row.stream, row.tenant),
}
"""By kind, what tells one row from another, and what rows are sorted by."""
