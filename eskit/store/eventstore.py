"""The port that every event store implements."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self, runtime_checkable

from eskit.domain.commands import AppendResult, Command
from eskit.domain.events import FoldRow, LogRow, NewEvent, RecordedEvent
from eskit.domain.streams import ExpectedVersion
from eskit.schema.recorded import EventSchema
from eskit.store.maintenance import Maintenance
from eskit.store.records import EARLIER, REACTIONS, Checkpoint, CommandRecord, Record
from eskit.store.snapshots import SnapshotStore


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
class StoreInfo:
    """A store at a glance.

    `first_recorded_at` and `last_recorded_at` are the times of the first and the last event, None
    without events. `commands` counts those that are remembered, expired ones until they are pruned;
    `erasures` the audit records; `bytes` is what the log takes, with what is on its way into it.
    `settings` is what this process uses it with, named like the options of its URL.
    """

    url: str
    store_id: str
    events: int
    streams: int
    head: int
    first_recorded_at: datetime | None
    last_recorded_at: datetime | None
    claims: int
    commands: int
    snapshots: int
    erasures: int
    schema_version: int
    bytes: int
    settings: Mapping[str, str | float]


def recorded_at(events: Iterator[RecordedEvent]) -> datetime | None:
    """The time of the next event, if there is one."""
    event = next(events, None)
    return event.recorded_at if event is not None else None


@runtime_checkable
class EventStore(Protocol):
    """An append-only log of events in streams.

    Thread-safe. Every read bound is exclusive. Positions grow in commit order: a reader that has
    seen N never later finds a new event below N.
    """

    @property
    def url(self) -> str:
        """The URL the store was opened with, without secrets."""
        ...

    @property
    def store_id(self) -> str:
        """A UUID made when the store was created: it tells a log from its copy."""
        ...

    @property
    def maintenance(self) -> Maintenance:
        """Operations on the store as a whole: verification, claims, erasure, export, backup."""
        ...

    @property
    def snapshots(self) -> SnapshotStore:
        """Folded states kept beside the log, from which aggregates load faster."""
        ...

    def append(
        self,
        stream: str,
        events: Sequence[NewEvent],
        *,
        expected_version: int | ExpectedVersion,
        command: Command | None = None,
        tenant: str = "",
    ) -> AppendResult:
        """Append all events, their claims and the command's record, or none of them.

        A command id that is remembered is answered with the first result, and so are event ids that
        are stored when it is the same events again. Raises VersionConflict, ClaimTaken,
        CommandIdReused, EventIdReused, StoreUnavailable, InvalidArgument.
        """
        ...

    def submit(
        self,
        stream: str,
        events: Sequence[NewEvent],
        *,
        expected_version: int | ExpectedVersion,
        command: Command | None = None,
        tenant: str = "",
    ) -> Future[AppendResult]:
        """Append without waiting; the future has what `append` would return or raise.

        A service has many appends under way, and threads that only wait for a commit cost more
        than all else it does. What one thread submits is appended in its order. Callbacks of the
        future may be called in the thread that commits: they must not wait for anything but an
        append, and may close the store. A future that can be cancelled has appended nothing.
        Raises StoreUnavailable when the store is closed.
        """
        ...

    def read_stream(
        self,
        stream: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        backward: bool = False,
        tenant: str = "",
    ) -> Iterator[RecordedEvent]:
        """The events of a stream between two versions; nothing for an unknown stream."""
        ...

    def read_rows(
        self, stream: str, *, after: int = 0, before: int | None = None, tenant: str = ""
    ) -> Iterator[FoldRow]:
        """The same forward, with only what folding needs."""
        ...

    def read_all(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        backward: bool = False,
        categories: Sequence[str] = (),
        event_types: Sequence[str] = (),
        tenants: Sequence[str] = (),
    ) -> Iterator[RecordedEvent]:
        """The log between two positions, in pages: no read transaction stays open between them.

        Ends at the head that the last page saw. An empty filter lets everything pass.
        """
        ...

    def read_log_rows(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        event_types: Sequence[str] = (),
    ) -> Iterator[LogRow]:
        """The log forward with only what handling needs, for who handles events by the million."""
        ...

    def stream_version(self, stream: str, tenant: str = "") -> int:
        """How many events the stream has; 0 for an unknown one."""
        ...

    def find_claim(self, index: str, value: str, tenant: str = "") -> str | None:
        """The stream that holds the value, if any."""
        ...

    def find_command(self, command_id: str, tenant: str = "") -> CommandRecord | None:
        """The record of a processed command, until it is pruned; None for one not known."""
        ...

    def head_position(self) -> int:
        """The position of the last event; 0 for an empty log."""
        ...

    def list_streams(
        self, *, prefix: str = "", limit: int | None = None, tenant: str | None = None
    ) -> Iterator[StreamInfo]:
        """Streams by name; those of every tenant unless one is named."""
        ...

    def count_events(
        self, *, after: int = 0, before: int | None = None, event_types: Sequence[str] = ()
    ) -> int:
        """How many events lie between two positions; of all types unless some are named."""
        ...

    def find_event(self, global_position: int) -> RecordedEvent | None:
        """The event at a position, if there is one."""
        ...

    def find_checkpoint(self, name: str) -> Checkpoint | None:
        """The checkpoint of a subscription that keeps it with the log, if it has one."""
        ...

    def save_checkpoint(self, name: str, *, position: int, event_id: str) -> None:
        """Set the checkpoint of a subscription that keeps it with the log."""
        ...

    def list_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints kept with the log, by name."""
        ...

    def find_record(self, kind: str, key: str) -> Record | None:
        """What a follower keeps with the log under a kind and a key, if there is something."""
        ...

    def save_record(self, kind: str, key: str, value: str, *, expected_revision: int) -> int:
        """Keep a value (JSON) in place of that of `expected_revision`, and return the new one.

        A revision of 0 is that of a record which is not there. Raises RecordChanged when the
        record has another revision.
        """
        ...

    def delete_record(self, kind: str, key: str, *, expected_revision: int) -> None:
        """Keep a record no longer; raises RecordChanged when it has another revision."""
        ...

    def list_records(self, kind: str) -> list[Record]:
        """The records of a kind, by key."""
        ...

    def load_schemas(self) -> list[EventSchema]:
        """The schemas of the events, in the order of the log.

        An append keeps the schema of every type it is the first to use, in its transaction.
        """
        ...

    def list_event_types(self) -> list[str]:
        """The types of the events in the log, sorted."""
        ...

    def info(self) -> StoreInfo:
        """Counts, sizes, versions and settings."""
        ...

    def wait(self, after: int, timeout: float) -> bool:
        """Block until the log has an event after a position, at most `timeout` seconds.

        True if it has. Appends of this process wake it at once, others within a short poll.
        """
        ...

    def close(self) -> None:
        """Finish what is being appended and let go of every resource; idempotent."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


def earlier_position(store: EventStore) -> int:
    """Up to where reactions may have come that kept their places elsewhere; 0 for not at all."""
    record = store.find_record(EARLIER, REACTIONS)
    return 0 if record is None else int(json.loads(record.value)["position"])


@runtime_checkable
class ChecksWriting(Protocol):
    """What an EventStore may offer besides: to say whether it can be written, without an append."""

    def check_writing(self) -> None:
        """Write something that changes nothing. Raises what an append would: StoreUnavailable."""
        ...
