"""The port that every read model implements: rows, and records beside them, in one transaction.

What the records mean is decided above, in `eskit.projections.bookkeeping`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeAlias, TypeVar

from eskit.processes.holding import Lock
from eskit.projections.differences import TableDifference
from eskit.projections.migrations import Migration
from eskit.projections.records import Kind, Record

Activity: TypeAlias = Literal["run", "rebuild", "diff"]
"""What one process at a time may do with a projection."""
Purpose: TypeAlias = Literal["rebuild", "diff", "estimate"]
"""What shadow rows are built for."""
Db_co = TypeVar("Db_co", covariant=True)


class Records(Protocol):
    """What is kept of projections, for whoever only looks."""

    def records(self, kind: Kind, name: str | None = None, key: str | None = None) -> list[Record]:
        """The records of a kind, by projection and then key: of all projections, of one, or one.

        None where nothing was written yet. Inside a write transaction what was read stays so.
        """
        ...


class ReadModel(Records, Protocol[Db_co]):
    """Rows of projections together with their records. Used by one thread at a time.

    Every method raises ReadModelUnavailable when the database cannot be used.
    """

    @property
    def db(self) -> Db_co:
        """What handlers are given, once for all; writes belong inside `transaction`."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """A write transaction, undone when the block raises; the only writer meanwhile.

        What runs inside can neither end it nor begin another. One inside another is undone alone
        when its block raises, and kept only with the other.
        """
        ...

    def flush(self) -> None:
        """Run what `db` has put off, if it puts anything off; raises what that raises."""
        ...

    def is_transient(self, error: BaseException) -> bool:
        """Whether an error that a handler raised is the database's condition, not the handler's."""
        ...

    def save(self, record: Record) -> None:
        """Keep a record, instead of the one with its key; part of the transaction."""
        ...

    def delete(self, kind: Kind, name: str, key: str) -> None:
        """Forget a record, if there is one; part of the transaction."""
        ...

    def migrate(self, name: str, migrations: Sequence[Migration]) -> None:
        """Run migrations and note that what they make is the projection's; in the transaction.

        Raises MigrationInvalid for one that does not run, or makes what no rebuild can make again.
        """
        ...

    def rename(self, old: str, new: str) -> None:
        """Give tables and records of a projection to another name; part of the transaction."""
        ...

    def close(self) -> None:
        """Let go of the database; idempotent."""
        ...


class ShadowReadModel(ReadModel[Db_co], Protocol[Db_co]):
    """Rows built beside the live ones, under the same table names, with records of their own.

    What other projections keep can be read through it, and not written.
    """

    @property
    def live(self) -> Records:
        """The records of the live rows; inside a transaction as `compare` sees those."""
        ...

    def compare(self, name: str, *, examples: int, in_order: bool) -> list[TableDifference]:
        """The tables of a projection compared with the live ones; inside a transaction.

        Up to so many example rows a table. `in_order`: both were made of the events in the same
        order, so that hidden keys and counters have to be the same as well.
        """
        ...


class LiveReadModel(ReadModel[Db_co], Protocol[Db_co]):
    """A read model in which shadow rows can take the place of the live ones."""

    def open_shadow(self, name: str, purpose: Purpose) -> ShadowReadModel[Db_co]:
        """The shadow rows of a projection: those of an unfinished build, or none yet."""
        ...

    def drop(self, name: str) -> None:
        """Delete what the migrations of a projection made; part of the transaction."""
        ...

    def discard_shadow(self, name: str, purpose: Purpose) -> None:
        """Delete shadow rows, damaged ones as well; harmless where there are none."""
        ...

    def swapping(self, name: str) -> AbstractContextManager[None]:
        """A transaction in which the shadow rows of a rebuild, closed, have replaced the live ones.

        The records are the live ones. Readers see the old rows or the new ones. Raises
        ProjectionFailed if a row refers to one that is not there, and MigrationInvalid if a table
        belongs to another projection.
        """
        ...


class ReadModels(Protocol[Db_co]):
    """Where the read models of an app are kept, open or not. Thread-safe."""

    def open(self, *, stop: threading.Event | None = None) -> LiveReadModel[Db_co]:
        """Open for writing, made if missing; `stop` ends its waits for other writers."""
        ...

    def reader(self) -> AbstractContextManager[Db_co]:
        """Read one moment of it; ReadModelUnavailable if there is nothing yet."""
        ...

    def records(
        self, kind: Kind, name: str | None = None, key: str | None = None, *, shadow: bool = False
    ) -> list[Record]:
        """What is kept now, see `Records`; `shadow`: in the unfinished rebuild of a projection."""
        ...

    def lock(self, name: str, activity: Activity) -> Lock:
        """The right to run, rebuild or compare a projection, not yet taken.

        An adapter may tie it to the session on which `open` writes, so that whoever loses the lock
        loses the transaction.
        """
        ...

    def close(self) -> None:
        """Let go of every connection; idempotent."""
        ...
