"""The port behind every operation on a store as a whole, from verification to erasure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from eskit.domain.events import EventRow
from eskit.domain.ids import uuid_text
from eskit.schema.recorded import EventSchema
from eskit.store.progress import ReportProgress
from eskit.store.records import Checkpoint


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


class HeldClaim(NamedTuple):
    """A unique value and the stream that holds it. Claims sort by tenant, index and value."""

    tenant: str
    index_name: str
    value: str
    stream: str


class VersionGap(NamedTuple):
    """A place where a stream's versions do not count up by one with growing positions."""

    stream: str
    tenant: str
    version: int
    global_position: int
    previous: int

    @property
    def text(self) -> str:
        """The gap as a sentence."""
        if self.version == self.previous + 1:
            return f"Version {self.version} of {self.stream} comes before the one it follows"
        return f"Version {self.version} of {self.stream} follows version {self.previous}"


class ChangedEvent(NamedTuple):
    """An event that is not what was recorded, in whatever part."""

    stream: str
    tenant: str
    version: int
    global_position: int

    @property
    def text(self) -> str:
        """The change as a sentence."""
        return (
            f"Version {self.version} of {self.stream}, at {self.global_position:,}, is not what "
            "was recorded: its checksum differs"
        )


class ChangedCommand(NamedTuple):
    """A remembered command that is not what was recorded: itself, or what it is answered with."""

    id: str
    stream: str
    tenant: str
    global_position: int

    @property
    def text(self) -> str:
        """The change as a sentence."""
        return (
            f"What is remembered of command {self.id!r}, on {self.stream}, is not what was "
            "recorded: its checksum differs"
        )


class RepeatedId(NamedTuple):
    """An event that has the id of one before it, at `first`: of an eskit that took ids twice."""

    event_id: bytes
    global_position: int
    stream: str
    tenant: str
    first: int

    @property
    def text(self) -> str:
        """The repetition as a sentence."""
        return (
            f"The event at {self.global_position:,}, of {self.stream}, has the id of the one at "
            f"{self.first:,}: {uuid_text(self.event_id)}"
        )


class LostCommand(NamedTuple):
    """A remembered command that led to an event which the log does not have."""

    id: str
    stream: str
    tenant: str
    version: int
    global_position: int

    @property
    def text(self) -> str:
        """The loss as a sentence."""
        return (
            f"Command {self.id!r} led to version {self.version} of {self.stream} at "
            f"{self.global_position:,}, which is not there"
        )


class Misfit(NamedTuple):
    """A value that cannot be right where it is kept: of another kind, or out of range.

    `row` tells which row it is, where neither position nor stream do; a position of 0 is none.
    """

    table: str
    column: str
    row: str
    global_position: int
    stream: str
    tenant: str

    @property
    def text(self) -> str:
        """The misfit as a sentence."""
        where = f"{self.table}.{self.column}"
        if self.global_position:
            where += f" of the event at {self.global_position:,}"
        elif self.row or self.stream:
            where += f" of {self.row or self.stream}"
        return f"{where} cannot be what was recorded"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedCommands:
    """How many commands were forgotten, or would be: all recorded before a moment.

    But those that a follower would send again stay: `needed` counts them by follower. `before` is
    None when no moment is so long ago, as far as clocks can be trusted.
    """

    commands: int
    before: datetime | None
    needed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """A finished and checked backup; `store_id` is its own, `origin` that of its original."""

    path: Path
    store_id: str
    origin: str
    events: int
    head: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedStore:
    """The store that was in the place of a restored one, and where it is kept.

    Of a damaged one nobody knows how many events it has, or where it ends.
    """

    path: Path
    events: int | None
    head: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """A backup in the place of a store; `store_id` is its own, `origin` that of the backup."""

    url: str
    store_id: str
    origin: str
    events: int
    head: int
    replaced: ReplacedStore | None


class StoreView(Protocol):
    """The whole store at one moment, whatever others write meanwhile."""

    def head_position(self) -> int:
        """The position of the last event; 0 for an empty log."""
        ...

    def count_events(self) -> int:
        """How many events the log has."""
        ...

    def count_streams(self) -> int:
        """How many streams have events."""
        ...

    def read_records(
        self, *, after: int = 0, streams: Sequence[tuple[str, str]] = ()
    ) -> Iterator[EventRow]:
        """The log in order of positions; only some streams when they are named (and tenants)."""
        ...

    def find_gaps(self) -> Iterator[VersionGap]:
        """Every place where versions are not contiguous."""
        ...

    def find_lost_commands(self) -> Iterator[LostCommand]:
        """Every remembered command whose event is not there: where the end of a log is lost."""
        ...

    def find_misfits(self, *, log_only: bool = False) -> Iterator[Misfit]:
        """Every value that no store would have kept; those of snapshots they tell themselves.

        With `log_only` not those of claims and checkpoints, which no export has.
        """
        ...

    def find_changed_events(self) -> Iterator[ChangedEvent]:
        """Every event that has changed since, as far as the store can tell."""
        ...

    def find_changed_commands(self) -> Iterator[ChangedCommand]:
        """Every remembered command that has changed since, as far as the store can tell."""
        ...

    def find_repeated_ids(self) -> Iterator[RepeatedId]:
        """Every event whose id an earlier one has, in the order of positions."""
        ...

    def find_lost_ids(self) -> Iterator[int]:
        """The positions of events that are not found by their ids, so that they could repeat."""
        ...

    def read_claims(self) -> Iterator[HeldClaim]:
        """All claims that are held, sorted."""
        ...

    def read_commands(self, *, streams: Sequence[tuple[str, str]] = ()) -> Iterator[CommandRow]:
        """The processed commands, sorted; only of some streams when they are named."""
        ...

    def list_checkpoints(self) -> list[Checkpoint]:
        """The checkpoints kept with the log, by name."""
        ...

    def list_erasures(self) -> list[Erasure]:
        """The audit records, oldest first."""
        ...

    def find_damage(self) -> Iterator[str]:
        """What is wrong with the storage itself, below events and streams."""
        ...

    def find_missing_parts(self) -> Iterator[str]:
        """What the storage should be made of and is not, such as an index."""
        ...


class LockedView(StoreView, Protocol):
    """The store while nobody else can write."""

    def put_claim(self, claim: HeldClaim) -> None:
        """Let the stream hold the value, whoever did before."""
        ...

    def drop_claim(self, claim: HeldClaim) -> None:
        """Free the value."""
        ...

    def add_events(self, records: Iterable[EventRow]) -> None:
        """Add recorded events as they are, after all that the log has.

        Their claims are run like those of an append. Raises InvalidArgument for a position, a
        version or a time that does not follow, and ClaimTaken.
        """
        ...

    def add_commands(self, commands: Iterable[CommandRow]) -> None:
        """Remember processed commands as they are, whether or not they are remembered already.

        Raises InvalidArgument for one that led to an event which is not where it says.
        """
        ...

    def add_schemas(self, schemas: Sequence[EventSchema]) -> None:
        """Keep the schemas of recorded events; what is known is passed over."""
        ...

    def add_erasures(self, erasures: Sequence[Erasure]) -> None:
        """Add audit records as they are; raises StreamNotFound for a stream without events."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What was or would be migrated; without a step both versions are the same."""

    before: int
    after: int
    backup: Path | None = None

    @property
    def needed(self) -> bool:
        """Whether there is a step between the two."""
        return self.before != self.after


class Maintenance(Protocol):
    """Operations on a store as a whole."""

    def view(self) -> AbstractContextManager[StoreView]:
        """The store at this moment; it never holds up a writer."""
        ...

    def lock(self) -> AbstractContextManager[LockedView]:
        """The store with all writers waiting; what was changed is kept unless the block raises."""
        ...

    def erase_stream(
        self, stream: str, *, reason: str, erased_by: str, tenant: str = ""
    ) -> Erasure:
        """Blank the payloads and claims of a stream, free its values, and record that it was done.

        Positions, versions, types, times and ids stay. A stream that has nothing to blank is left
        as it is. Raises StreamNotFound. What was blanked may linger in free space until `scrub`.
        """
        ...

    def scrub(self) -> None:
        """Leave nothing of what was erased in free space; raises StoreUnavailable if it cannot."""
        ...

    def prune_commands(self, *, dry_run: bool = False) -> PrunedCommands:
        """Forget the commands whose time to live is over; with `dry_run` only count them.

        Nothing else does, so that until then a resend is answered whatever clocks say; see
        `eskit.store.aging` for how their age is counted. Those of a reaction stay until it has
        passed the events that it sent them for.
        """
        ...

    def backup(self, target: Path, *, progress: ReportProgress) -> BackupReport:
        """Copy the store as it is at one moment into a new file, and check the copy.

        Writers are not held up. The copy has a store id of its own. Raises TARGET_EXISTS,
        StoreUnavailable, and InvalidArgument for a store that has no files.
        """
        ...
