"""The port that every read model implements: rows, checkpoints and failures in one transaction."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeAlias

from eskit.clock import Clock
from eskit.projections.database import Database
from eskit.projections.differences import TableDifference
from eskit.projections.locks import Activity, ProjectionLock
from eskit.projections.projection import Projection
from eskit.projections.records import (
    DeadLetter,
    Decision,
    Effect,
    EventPosition,
    Failure,
    Phase,
    ProjectionState,
    Skip,
)

Purpose: TypeAlias = Literal["rebuild", "diff", "estimate"]
"""What rows are built aside for."""


class ReadModel(Protocol):
    """Rows of projections together with their checkpoints. Used by one thread at a time.

    Every method raises ReadModelUnavailable when the database cannot be used.
    """

    @property
    def clock(self) -> Clock:
        """The clock that it was opened with."""
        ...

    @property
    def db(self) -> Database:
        """What handlers are given; writes belong inside `transaction`."""
        ...

    def prepare(self, projection: Projection, *, store_id: str) -> ProjectionState:
        """Make the projection's tables as its migrations say, and remember it.

        Raises MigrationInvalid, and RebuildNeeded when the rows are another version's.
        """
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """A write transaction, undone when the block raises; the only writer meanwhile.

        What runs inside can neither end it nor begin another.
        """
        ...

    def is_outage(self, error: BaseException) -> bool:
        """Whether an error that a handler raised is the database's condition, not the handler's."""
        ...

    def find_state(self, name: str) -> ProjectionState | None:
        """What is remembered of a projection, if it was ever prepared."""
        ...

    def advance(self, name: str, *, seen: EventPosition, passed: EventPosition) -> None:
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

    def pause(self, name: str, *, reason: str) -> None:
        """Let nobody run the projection until it is resumed; part of the transaction."""
        ...

    def resume(self, name: str) -> None:
        """Undo a pause; part of the transaction."""
        ...

    def move_checkpoint(self, name: str, *, store_id: str, checkpoint: EventPosition) -> None:
        """Set a checkpoint wherever it was, and forget what stopped it; part of the transaction."""
        ...

    def rename(self, old: str, new: str) -> None:
        """Give what is kept of a projection to one of another name; part of the transaction."""
        ...

    def drop(self, name: str) -> None:
        """Delete a projection's tables, and all but its audit record; part of the transaction."""
        ...

    def save_decision(self, decision: Decision) -> None:
        """Add to the audit record; part of the transaction."""
        ...

    def find_dead_letters(self, name: str) -> list[DeadLetter]:
        """The dead letters of a projection, by position."""
        ...

    def save_dead_letter(self, letter: DeadLetter) -> None:
        """Keep a dead letter, instead of an earlier one for the event; part of the transaction."""
        ...

    def delete_dead_letter(self, name: str, position: int) -> None:
        """Forget a dead letter that was handled or skipped; part of the transaction."""
        ...

    def find_skips(self, name: str) -> list[Skip]:
        """The events that a projection skips, by position."""
        ...

    def save_skip(self, skip: Skip) -> None:
        """Keep a decision to skip an event; part of the transaction."""
        ...

    def find_effects(self, name: str) -> list[Effect]:
        """The effects of a projection that are still to be called, by position."""
        ...

    def save_effect(self, effect: Effect) -> bool:
        """Record an effect; False if it already is. Part of the transaction."""
        ...

    def fail_effect(self, effect: Effect) -> None:
        """Keep why a call did not go well; part of the transaction."""
        ...

    def finish_effect(self, effect: Effect) -> None:
        """Keep that a call was made; part of the transaction."""
        ...

    def close(self) -> None:
        """Let go of the database; idempotent."""
        ...


class ShadowReadModel(ReadModel, Protocol):
    """Rows built beside the live ones, under the same table names."""

    def find_live_state(self, name: str) -> ProjectionState | None:
        """Where the live rows stand; inside a transaction they stand still."""
        ...

    def check_rows(self, name: str) -> None:
        """Raise ProjectionFailed if a row refers to one that is not there."""
        ...

    def compare(self, name: str, *, examples: int) -> list[TableDifference]:
        """The tables of a projection compared with the live ones; inside a transaction."""
        ...


class LiveReadModel(ReadModel, Protocol):
    """A read model in which a projection can be built aside and then exchanged at once."""

    def open_shadow(
        self, projection: Projection, purpose: Purpose, *, fingerprint: str, store_id: str
    ) -> ShadowReadModel:
        """A read model with the same table names, without rows: for building anew.

        Goes on with an unfinished one where the same code (`fingerprint`) began it on the same
        store. What other projections keep can be read through it.
        """
        ...

    def rehearsing(self) -> AbstractContextManager[None]:
        """Undo what the block does; nobody else writes meanwhile, readers see nothing of it."""
        ...

    def emptied(self, projection: Projection) -> AbstractContextManager[None]:
        """One transaction around everything, in which the projection has nothing at first."""
        ...

    def swapping(self, projection: Projection) -> AbstractContextManager[ProjectionState]:
        """A transaction in which the rows built aside, and closed, have replaced the live ones.

        The checkpoint is that of the rows built aside, the failures are gone. Undone as a whole
        when the block raises.
        """
        ...

    def discard_shadow(self, name: str, purpose: Purpose) -> None:
        """Delete what was built aside."""
        ...


class ReadModels(Protocol):
    """Where the read models of an app are kept, open or not."""

    @property
    def clock(self) -> Clock:
        """The clock that it was opened with."""
        ...

    @property
    def url(self) -> str:
        """What it was opened with."""
        ...

    def open(self, *, stop: threading.Event | None = None) -> LiveReadModel:
        """Open for writing, made if missing; `stop` ends its waits for other writers."""
        ...

    def reader(self) -> AbstractContextManager[Database]:
        """Read one moment of it; ReadModelUnavailable if there is nothing yet. Thread-safe."""
        ...

    def list_states(self) -> list[ProjectionState]:
        """Every projection remembered, by name; none if nothing was written yet."""
        ...

    def find_state(self, name: str) -> ProjectionState | None:
        """What is remembered of a projection, if anything."""
        ...

    def find_failures(self, name: str) -> list[Failure]:
        """The event that stopped the projection and the one that stopped its rebuild, if any."""
        ...

    def find_dead_letters(self, name: str) -> list[DeadLetter]:
        """The dead letters of a projection, by position."""
        ...

    def find_skips(self, name: str) -> list[Skip]:
        """The events that a projection skips, by position."""
        ...

    def find_effects(self, name: str) -> list[Effect]:
        """The effects of a projection that are still to be called, by position."""
        ...

    def check(self, projection: Projection) -> None:
        """Raise RebuildNeeded or MigrationInvalid if its rows cannot be gone on with."""
        ...

    def list_decisions(self, name: str) -> list[Decision]:
        """The audit record of a projection, oldest first."""
        ...

    def find_shadow(self, name: str) -> ProjectionState | None:
        """How far an unfinished rebuild has come, if there is one."""
        ...

    def lock(self, name: str, activity: Activity) -> ProjectionLock:
        """The right to run or rebuild a projection here."""
        ...

    def close(self) -> None:
        """Let go of every connection; idempotent."""
        ...
