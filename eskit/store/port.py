"""What a database has to do to be an event store: the two ports that an adapter implements.

A `Storage` is the database in daily use, a `View` all of it at one moment, for the operations on a
store as a whole. Everything else is `EventStore` over them: checks, pages, decoding, tenants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from eskit.domain.commands import AppendResult
from eskit.domain.events import EventRow, FoldRow, LogRow
from eskit.processes.holding import Lock
from eskit.schema.recorded import EventSchema
from eskit.store.appending import MAX_POSITION, Append
from eskit.store.records import (
    Checkpoint,
    ClaimRow,
    CommandRow,
    Erasure,
    EventType,
    Record,
    Snapshot,
    StreamInfo,
)
from eskit.store.reports import BackupReport, ReportProgress

PAGE_BYTES = 4 * 1024 * 1024
"""Of the payloads of a page: more end it, so that large events do not fill the memory."""

Shape = TypeVar("Shape", EventRow, FoldRow, LogRow)
Kind = TypeVar(
    "Kind",
    Checkpoint,
    ClaimRow,
    CommandRow,
    Erasure,
    EventSchema,
    EventType,
    Record,
    Snapshot,
    StreamInfo,
)
Kept: TypeAlias = Checkpoint | Record | Snapshot
"""What followers and aggregates keep beside the log."""
Stored: TypeAlias = EventRow | CommandRow | ClaimRow | EventSchema | Erasure | Checkpoint | Record
"""What an import or a copy brings in, and what is repaired."""
StreamKey: TypeAlias = tuple[str, str]
"""Name and tenant of a stream."""


class Select(NamedTuple, Generic[Shape]):
    """Which events to read, as rows of a `shape`. Every bound is exclusive, every filter optional.

    With a `stream`, of that one and its `tenant`: then `after` and `before` are versions. Without
    one they are positions in the log. An empty filter lets everything pass.
    """

    shape: type[Shape]
    stream: str = ""
    tenant: str = ""
    after: int = 0
    before: int = MAX_POSITION
    backward: bool = False
    categories: Sequence[str] = ()
    event_types: Sequence[str] = ()
    tenants: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a store says of itself: `bytes` is what it takes, `settings` what it is used with.

    `command_ttl` is how old the record of a command is before it may be pruned.
    """

    url: str
    store_id: str
    command_ttl: timedelta = timedelta(days=7)
    schema_version: int = 0
    bytes: int = 0
    settings: Mapping[str, str | float] = field(default_factory=dict)


class Check(Enum):
    """What a view is asked to look for: everything that can be wrong with what a store holds."""

    STORAGE = "the storage itself, below events and streams"
    PARTS = "tables and indexes that are missing"
    VALUES = "values that no store would have kept; those of snapshots they tell themselves"
    LOG_VALUES = "the same, without claims and checkpoints, which no export has"
    EVENTS = "events that are not what was recorded, as far as the store can tell"
    COMMANDS = "remembered commands that are not what was recorded"
    LOST_COMMANDS = "commands whose event is not there: where the end of a log is lost"
    VERSIONS = "places where the versions of a stream do not count up by one"
    REPEATED_IDS = "events whose id an earlier one has"
    LOST_IDS = "events that are not found by their ids, so that they could repeat"


class Problem(NamedTuple):
    """Something that is wrong, in a sentence, and where it is; a position of 0 is none."""

    text: str
    stream: str = ""
    tenant: str = ""
    global_position: int = 0


class Storage(Protocol):
    """A database that keeps a log. Thread-safe. Positions grow in commit order.

    What it cannot do it refuses with `Unsupported`, and a reason. Every method raises
    StoreUnavailable when the store is closed or cannot be reached, and StoreDamaged for what
    cannot have been recorded.
    """

    def about(self) -> About:
        """URL, id, size and settings."""
        ...

    def append(self, append: Append) -> AppendResult:
        """Append all events, with their claims, schemas and command, or none of them.

        The rules are those of `appending.decide`. Raises VersionConflict, ClaimTaken,
        CommandIdReused, EventIdReused, and StoreUnavailable where a copy has closed the store.
        """
        ...

    def submit(self, append: Append) -> Future[AppendResult]:
        """The same without waiting; what one thread submits is appended in its order."""
        ...

    def read(self, select: Select[Shape], size: int) -> Sequence[Shape]:
        """The first `size` events of a selection, in the order of positions or versions.

        Fewer are all that there are, or end with one that takes their payloads past `PAGE_BYTES`.
        One snapshot answers, so that no event below the last one can appear later.
        """
        ...

    def count(self, select: Select[Any]) -> int:
        """How many events of the log lie between two positions, of some types or of all."""
        ...

    def streams(
        self, after: StreamKey, *, prefix: str, tenant: str | None, size: int
    ) -> Sequence[StreamInfo]:
        """The next `size` streams by name and tenant, of those that have events."""
        ...

    def find(self, kind: type[Kind], *key: str) -> Sequence[Kind]:
        """The rows of a kind whose keys begin with `key`, sorted; see `KEYS` in `records`."""
        ...

    def keep(
        self, put: Sequence[Kept] = (), drop: Sequence[Kept] = (), *, under: Lock | None = None
    ) -> bool:
        """Put and drop rows, all or none; False for a row that cannot be changed like that.

        A checkpoint takes the place of the one before. A record is put in the place of that with
        the revision before, and dropped only with its revision. A snapshot is put only beside the
        event that it was taken after, of a stream that was never erased. With nothing to change
        it writes something that changes nothing, to see whether that can be done. `under` a lock
        of this store nothing is changed once that was lost: StoreUnavailable.
        """
        ...

    def head(self, past: int = -1, timeout: float = 0.0) -> int:
        """The position of the last event; waits until it is past a position, or time is over.

        Appends of this process wake who waits at once, others within a short poll.
        """
        ...

    def microseconds(self) -> int:
        """What time it is, since 1970, by the clock of whoever keeps the log."""
        ...

    def lock(self, name: str) -> Lock:
        """A lock, not yet taken, that one at a time has of all who use the store.

        It is over all hosts where the store is.
        """
        ...

    def view(self, *, exclusive: bool = False) -> AbstractContextManager[View]:
        """The whole store at this moment; it never holds up a writer.

        An `exclusive` one can be changed, with all writers waiting; what was changed is kept
        unless the block raises.
        """
        ...

    def scrub(self) -> None:
        """Leave nothing of what was erased in free space; StoreUnavailable if it cannot."""
        ...

    def close(self) -> None:
        """Finish what is being appended and let go of every resource; idempotent."""
        ...


class View(Protocol):
    """A whole store at one moment. The last four are for an exclusive one."""

    def head(self) -> int:
        """The position of the last event; 0 for an empty log."""
        ...

    def count(self, kind: type[Any]) -> int:
        """How many rows of a kind there are; of EventRow and StreamInfo as well."""
        ...

    def events(self, *, after: int = 0, streams: Sequence[StreamKey] = ()) -> Iterator[EventRow]:
        """The log in order of positions; only some streams when they are named."""
        ...

    def rows(self, kind: type[Kind], *, streams: Sequence[StreamKey] = ()) -> Iterator[Kind]:
        """All rows of a kind, sorted by key; of commands only those of some streams, if named."""
        ...

    def check(self, what: Check) -> Iterator[Problem]:
        """What is wrong; nothing for what cannot go wrong in this kind of store."""
        ...

    def backup(self, target: Path, *, progress: ReportProgress) -> BackupReport:
        """Copy the store into a new file, and check the copy; see `operations.files.back_up`."""
        ...

    def put(self, rows: Iterable[Stored]) -> None:
        """Add rows as they are; a claim, checkpoint or record in the place of the one before.

        Events come after all that the log has, and run their claims: raises InvalidArgument for a
        position, version or time that does not follow, and ClaimTaken. So it does for a command
        that led to an event which is not where it says. StreamNotFound for an erasure of no stream.
        """
        ...

    def drop(self, rows: Iterable[ClaimRow | CommandRow | Record]) -> None:
        """Drop rows, but no command that was recorded at another time."""
        ...

    def erase(self, erasure: Erasure) -> Erasure:
        """Blank a stream as the record says, and keep it with the number of events in it.

        That is payloads and claims of its events, its values, snapshots and the responses of its
        commands. Nothing to blank leaves no record. A record that has a number of events already
        is that of an erasure elsewhere, and is kept as it is. Raises StreamNotFound.
        """
        ...

    def adopt(self, store_id: str) -> None:
        """Give the store another id. Who has it open knows the old one until it opens it again."""
        ...
