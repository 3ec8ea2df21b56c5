"""The port that every read model implements: rows, checkpoints and failures in one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from eskit.projections.database import Database
from eskit.projections.projection import Projection

Phase: TypeAlias = Literal["run", "rebuild"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a log: the position of an event and its id; 0 and "" before the first."""

    position: int
    event_id: str


START = Mark(0, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a read model remembers of one projection: its checkpoint and who made its rows."""

    name: str
    version: int
    store_id: str
    mark: Mark
    updated_at: datetime


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


class TransactionLost(Exception):
    """The error that caused this one has undone the whole transaction, not only its attempt."""


class ReadModel(Protocol):
    """Rows of projections together with their checkpoints. Used by one thread at a time.

    Every method raises ReadModelUnavailable when the database cannot be used.
    """

    @property
    def db(self) -> Database:
        """What handlers are given; writes belong inside `transaction`."""
        ...

    def prepare(self, projection: Projection, *, store_id: str) -> Standing:
        """Make the projection's tables as its migrations say, and remember it.

        Raises MigrationInvalid, and RebuildNeeded when the rows are another version's.
        """
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """A write transaction, undone when the block raises; the only writer meanwhile.

        What runs inside can neither end it nor begin another.
        """
        ...

    def attempt(self) -> AbstractContextManager[None]:
        """A part of the transaction that is undone alone when the block raises.

        Raises TransactionLost when the block's error has undone the whole transaction.
        """
        ...

    def is_outage(self, error: BaseException) -> bool:
        """Whether an error that a handler raised is the database's condition, not the handler's."""
        ...

    def find_standing(self, name: str) -> Standing | None:
        """What is remembered of a projection, if it was ever prepared."""
        ...

    def advance(self, name: str, *, seen: Mark, passed: Mark) -> None:
        """Move a checkpoint that is still at `seen`; part of the transaction."""
        ...

    def find_failures(self, name: str) -> list[Failure]:
        """The event that stopped the projection and the one that stopped its rebuild, if any."""
        ...

    def save_failure(self, failure: Failure) -> None:
        """Remember a failure instead of the one before it; part of the transaction."""
        ...

    def clear_failure(self, name: str, phase: Phase) -> None:
        """Forget a failure that was overcome; part of the transaction."""
        ...

    def close(self) -> None:
        """Let go of the database; idempotent."""
        ...


class RebuildableReadModel(ReadModel, Protocol):
    """A read model in which a projection can be built aside and then exchanged at once."""

    def open_aside(self, projection: Projection, *, fingerprint: str) -> ReadModel:
        """An empty read model with the same table names, or an unfinished one to go on with.

        It goes on only where the same code began: `fingerprint` tells.
        """
        ...

    def take_over(self, projection: Projection, aside: Standing) -> None:
        """Exchange the projection's rows for those built aside; part of the transaction.

        `exchanging` has to be around the transaction.
        """
        ...

    def exchanging(self, projection: Projection) -> AbstractContextManager[None]:
        """Make what was built aside, and closed, readable for `take_over`."""
        ...

    def discard_aside(self, name: str) -> None:
        """Delete what was built aside."""
        ...

    def list_standings(self) -> Iterable[Standing]:
        """Every projection remembered, by name."""
        ...
