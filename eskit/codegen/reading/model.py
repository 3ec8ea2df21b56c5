"""What there is to generate, as the templates see it."""

from __future__ import annotations

from dataclasses import dataclass

from eskit.schema.options import ServiceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRef:
    """A message and where its class is: `path` is ``Outer.Inner`` within the file's module.

    There keywords have a trailing underscore.
    """

    full_name: str
    file: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """One rpc; `index` is its place among the methods of its service."""

    name: str
    python_name: str
    index: int
    request: MessageRef
    response: MessageRef
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service; `aggregate` is the type name of the aggregate it is bound to, or empty."""

    name: str
    full_name: str
    file: str
    kind: ServiceKind
    aggregate: str
    package: str
    deprecated: bool
    constant: str
    handler: str
    client: str
    register: str
    rpcs: tuple[Rpc, ...]
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event and the method that applies it."""

    message: MessageRef
    python_name: str
    deprecated: bool
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """One aggregate with its events and services, wherever they are declared."""

    name: str
    package: str
    state: MessageRef
    id_field: str
    events: tuple[Event, ...]
    services: tuple[Service, ...]
    doc: str

    @property
    def current_events(self) -> tuple[Event, ...]:
        """The events it can emit: deprecated ones are only read."""
        return tuple(event for event in self.events if not event.deprecated)

    @property
    def event_alias(self) -> str:
        """What the type of its events is called; empty if it has none."""
        return f"{self.name}Event" if self.current_events else ""

    @property
    def commands(self) -> tuple[Service, ...]:
        """The services whose rpcs are methods of the aggregate."""
        return tuple(service for service in self.services if service.kind == "command")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """What one proto file declares."""

    name: str
    package: str
    aggregates: tuple[Aggregate, ...]
    events: tuple[MessageRef, ...]
    services: tuple[Service, ...]

    @property
    def has_code(self) -> bool:
        """Whether anything is generated for it beside its pb2 module."""
        return bool(self.aggregates or self.events or self.services)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All files of a project, in the order of their names."""

    files: tuple[SourceFile, ...]

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """Every aggregate, in the order of files."""
        return tuple(a for file in self.files for a in file.aggregates)

    @property
    def services(self) -> tuple[Service, ...]:
        """Every service, in the order of files."""
        return tuple(s for file in self.files for s in file.services)


@dataclass(frozen=True, slots=True, kw_only=True)
class SdkGroup:
    """One attribute of the SDK: an aggregate and its services, or services bound to none.

    Services of several packages that have one name have an attribute each.
    """

    attribute: str
    client: str
    aggregates: tuple[Aggregate, ...]
    services: tuple[Service, ...]
    doc: str
