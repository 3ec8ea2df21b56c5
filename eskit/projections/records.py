"""What a read model remembers of its projections, beside their rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

Phase: TypeAlias = Literal["run", "retry", "rebuild"]
"""In what a projection failed; `retry`: it is about to try again by itself."""
Kind: TypeAlias = Literal[
    "state",
    "migration",
    "failure",
    "dead_letter",
    "skip",
    "effect",
    "called",
    "decision",
    "build",
]
"""What a record is about. `called` are effects that were called, `build` is who began a shadow."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a read model keeps, whatever it means: `value` is JSON, unique by the other three."""

    kind: Kind
    projection: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class EventPosition:
    """Where an event stands in a log: its position and its id; 0 and "" before the first.

    `place` is where else it stands, in the words of a log that is not read by position, such as a
    JetStream stream; empty in a store.
    """

    position: int
    event_id: str
    place: str = field(default="", compare=False)


START = EventPosition(0, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionState:
    """What a read model remembers of one projection: its checkpoint and who made its rows.

    `pause` is the reason for which it was paused; None while it is not. `has_exceptions` says that
    events became dead letters or were skipped.
    """

    name: str
    version: int
    store_id: str
    checkpoint: EventPosition
    updated_at: datetime
    pause: str | None = None
    has_exceptions: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedMigration:
    """A migration that has made tables of a projection."""

    projection: str
    number: int
    name: str
    checksum: str
    applied_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What somebody has decided about a projection: the audit record."""

    projection: str
    action: str
    detail: str
    reason: str
    decided_by: str
    decided_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An event that a handler raised on; the rows stand before it."""

    projection: str
    phase: Phase
    position: int
    event_id: str
    event_type: str
    stream: str
    error: str
    traceback: str
    failed_at: datetime


DeadLetterState: TypeAlias = Literal["stopped", "rebuild stopped", "failed", "waiting"]
"""The projection, or its rebuild, stopped before it; failed; waits behind a failed one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionDeadLetter:
    """An event that waits for somebody to decide: a dead letter, or what stopped a projection.

    `holds_stream` says that later events of its stream wait behind it. `attempts` is how often it
    was tried before it became a dead letter; 0 for one that was not.
    """

    projection: str
    state: DeadLetterState
    position: int
    event_id: str
    event_type: str
    stream: str
    tenant: str
    holds_stream: bool
    attempts: int
    error: str
    traceback: str
    since: datetime

    @property
    def text(self) -> str:
        """The event in a few words."""
        return f"{self.position:,} {self.event_type} of {self.stream}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """The decision that a projection never handles an event, also in a rebuild."""

    projection: str
    position: int
    event_id: str
    event_type: str
    stream: str
    reason: str
    decided_by: str
    decided_at: datetime

    @property
    def text(self) -> str:
        """The event in a few words."""
        return f"{self.position:,} {self.event_type} of {self.stream}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """A call that is to be made once: which function, with what, for which event."""

    projection: str
    event_id: str
    name: str
    position: int
    function: str
    arguments: str
    attempts: int = 0
    error: str = ""
