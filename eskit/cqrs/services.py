"""Handlers of services: what they are called with, and how they are bound to their rpcs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from eskit.domain.context import MessageContext
from eskit.domain.services import Method, ServiceType
from eskit.errors import InvalidArgument

if TYPE_CHECKING:
    from eskit.domain.aggregate import AnyAggregate
    from eskit.projections.database import Database
    from eskit.projections.projection import Projection

AnAggregate = TypeVar("AnAggregate", bound="AnyAggregate")


class Workspace(Protocol):
    """Loads the aggregates of one command and takes the one to append."""

    def load(self, kind: type[AnAggregate], aggregate_id: str, /) -> AnAggregate:
        """The aggregate as it is now."""
        ...

    def append(self, aggregate: AnyAggregate, /) -> None:
        """Take what the aggregate emitted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandContext(MessageContext):
    """The context of a command service written by hand."""

    workspace: Workspace

    def load(self, kind: type[AnAggregate], aggregate_id: str) -> AnAggregate:
        """The aggregate as it is now; a fresh one at version 0 if it has no event yet."""
        return self.workspace.load(kind, aggregate_id)

    def append(self, aggregate: AnyAggregate) -> None:
        """Append what the aggregate emitted when the handler returns, with its response.

        One command appends once, to one stream. When another writer was first, the handler
        runs again on fresh state.
        """
        self.workspace.append(aggregate)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryContext:
    """The context of a query: who asks, and the read models to answer from."""

    tenant: str
    principal_id: str
    correlation_id: str
    db: Database
    """The read models, read-only."""


class QueryHandler(Protocol):
    """Base of generated query handlers."""

    __service__: ClassVar[ServiceType]
    reads: ClassVar[Sequence[Projection]] = ()
    """Projections that must be caught up for the answers to be true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBinding:
    """A service and, by rpc name, the callables that answer it."""

    service: ServiceType
    handlers: Mapping[str, Callable[[Any, Any], Any]]
    reads: Sequence[Projection] = ()

    def handler(self, method: Method) -> Callable[[Any, Any], Any]:
        """What answers one of the service's methods."""
        return self.handlers[method.name]


def bind(service: ServiceType, handler: object) -> ServiceBinding:
    """Find each rpc's method on `handler`; InvalidArgument names the first that is missing."""
    handlers: dict[str, Callable[[Any, Any], Any]] = {}
    for method in service.methods:
        found = getattr(handler, method.python_name, None)
        if not callable(found):
            raise InvalidArgument(
                f"{type(handler).__name__} has no method {method.python_name} for {method.path}",
                hint="Write it, or derive from the generated handler class to be told by mypy.",
            )
        if inspect.iscoroutinefunction(found):
            raise InvalidArgument(
                f"{type(handler).__name__}.{method.python_name} is a coroutine function",
                hint="Handlers are plain functions; eskit runs each in a worker thread.",
            )
        handlers[method.name] = found
    return ServiceBinding(
        service=service, handlers=handlers, reads=tuple(getattr(handler, "reads", ()))
    )
