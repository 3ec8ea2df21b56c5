"""What handlers of commands and queries are called with, besides the message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from eskit.domain.context import MessageContext
from eskit.projections.database import Db

if TYPE_CHECKING:
    from eskit.domain.aggregate import AnyAggregate

AnAggregate = TypeVar("AnAggregate", bound="AnyAggregate")


class Workspace(Protocol):
    """Loads the aggregates of one command and takes the one to append."""

    def load(self, aggregate_class: type[AnAggregate], aggregate_id: str, /) -> AnAggregate:
        """The aggregate as it is now."""
        ...

    def append(self, aggregate: AnyAggregate, /) -> None:
        """Take what the aggregate emitted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandContext(MessageContext):
    """The context of a command service written by hand."""

    workspace: Workspace

    def load(self, aggregate_class: type[AnAggregate], aggregate_id: str) -> AnAggregate:
        """The aggregate as it is now; a fresh one at version 0 if it has no event yet."""
        return self.workspace.load(aggregate_class, aggregate_id)

    def append(self, aggregate: AnyAggregate) -> None:
        """Append what the aggregate emitted when the handler returns, with its response.

        One command appends once, to one stream. When another writer was first, the handler
        runs again on fresh state.
        """
        self.workspace.append(aggregate)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryContext(Generic[Db]):
    """The context of a query: who asks, and the read models to answer from, by default SQLite."""

    tenant: str
    principal_id: str
    correlation_id: str
    db: Db
    """The read models, read-only."""
