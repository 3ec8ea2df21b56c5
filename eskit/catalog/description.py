"""The catalog of a service: what it is made of, and who emits, handles and answers what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from eskit.app import App
from eskit.codegen.python.emissions import emitted_events, sent_commands
from eskit.codegen.reading.comments import comments_of, summary_of
from eskit.codegen.reading.model import Aggregate, Event, Rpc, Schema, Service
from eskit.errors import ProjectError
from eskit.schema.fields import FieldInfo, custom_options, describe_fields
from eskit.schema.recorded import schema_pool


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogMethod:
    """A command with the events it can emit, or a query with the projections it reads.

    `fields` are those of its request; `options` are custom ones by full name.
    """

    name: str
    service: str
    doc: str
    request: str
    response: str
    fields: tuple[FieldInfo, ...]
    options: Mapping[str, Any]
    emits: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """``account.v1.AccountCommandService/OpenAccount``."""
        return f"{self.service}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEvent:
    """An event, the commands that can emit it, the projections and reactions that handle it.

    `read_as` is what an old event is upcast to.
    """

    event_type: str
    doc: str
    deprecated: bool
    read_as: str
    fields: tuple[FieldInfo, ...]
    options: Mapping[str, Any]
    emitted_by: tuple[str, ...]
    handled_by: tuple[str, ...]
    reacted_to_by: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name within its package."""
        return self.event_type.rpartition(".")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogAggregate:
    """An aggregate with its commands, queries and events, in the order of the proto."""

    name: str
    doc: str
    state: str
    id_field: str
    file: str
    commands: tuple[CatalogMethod, ...]
    queries: tuple[CatalogMethod, ...]
    events: tuple[CatalogEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogProjection:
    """A projection: the events it handles, the queries that read it."""

    name: str
    handles: tuple[str, ...]
    read_by: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogReaction:
    """A reaction: the events it reacts to, the commands it can send, as paths."""

    name: str
    handles: tuple[str, ...]
    sends: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything, in the order of the protos and of the app."""

    app: str
    aggregates: tuple[CatalogAggregate, ...]
    services: tuple[CatalogMethod, ...]
    projections: tuple[CatalogProjection, ...]
    reactions: tuple[CatalogReaction, ...]

    @property
    def queries(self) -> tuple[CatalogMethod, ...]:
        """The queries of all aggregates."""
        return tuple(query for aggregate in self.aggregates for query in aggregate.queries)


def make_catalog(schema: Schema, files: FileDescriptorSet, app: App) -> Catalog:
    """Describe what the protos, parsed into `files`, declare and how the app puts it together."""
    declared = _Declared(schema_pool(files), comments_of(files))
    return Catalog(
        app=app.name,
        aggregates=tuple(_aggregate(aggregate, app, declared) for aggregate in schema.aggregates),
        services=tuple(
            _method(service, rpc, app, declared)
            for service in schema.services
            if not service.aggregate
            for rpc in service.rpcs
        ),
        projections=tuple(
            CatalogProjection(
                name=projection.name,
                handles=tuple(projection.handlers),
                read_by=tuple(_queries_reading(projection.name, app)),
            )
            for projection in app.projections
        ),
        reactions=tuple(
            CatalogReaction(
                name=reaction.name,
                handles=tuple(reaction.handlers),
                sends=sent_commands(reaction, app.methods.values()),
            )
            for reaction in app.reactions
        ),
    )


@dataclass(frozen=True, slots=True)
class _Declared:
    """What the protos say of messages beyond the schema."""

    pool: DescriptorPool
    comments: Mapping[str, str]

    def fields(self, message: str) -> tuple[FieldInfo, ...]:
        return describe_fields(self.pool.FindMessageTypeByName(message), self.comments)

    def options_of_message(self, message: str) -> dict[str, Any]:
        return custom_options(self.pool.FindMessageTypeByName(message))

    def options_of_method(self, service: str, method: str) -> dict[str, Any]:
        found = self.pool.FindServiceByName(service)
        return custom_options(found.methods_by_name[method])


def _aggregate(aggregate: Aggregate, app: App, declared: _Declared) -> CatalogAggregate:
    emissions = _emissions(aggregate, app)
    return CatalogAggregate(
        name=aggregate.name,
        doc=summary_of(aggregate.doc),
        state=aggregate.state.full_name,
        id_field=aggregate.id_field,
        file=aggregate.state.file,
        commands=tuple(
            _method(service, rpc, app, declared, emits=emissions.get(rpc.python_name, ()))
            for service in aggregate.commands
            for rpc in service.rpcs
        ),
        queries=tuple(
            _method(service, rpc, app, declared)
            for service in aggregate.services
            if service.kind == "query"
            for rpc in service.rpcs
        ),
        events=tuple(
            _event(event, aggregate, emissions, app, declared) for event in aggregate.events
        ),
    )


def _emissions(aggregate: Aggregate, app: App) -> Mapping[str, tuple[str, ...]]:
    """By method, what the app's class emits; nothing for an aggregate the app does not have."""
    try:
        kind = app.aggregate(aggregate.name)
    except ProjectError:
        return {}
    return {
        rpc.python_name: emitted_events(kind, rpc.python_name)
        for service in aggregate.commands
        for rpc in service.rpcs
    }


def _method(
    service: Service, rpc: Rpc, app: App, declared: _Declared, *, emits: tuple[str, ...] = ()
) -> CatalogMethod:
    reads: Sequence[str] = ()
    for binding in app.bindings:
        if binding.service.name == service.full_name:
            reads = [projection.name for projection in binding.reads]
    return CatalogMethod(
        name=rpc.name,
        service=service.full_name,
        doc=summary_of(rpc.doc),
        request=rpc.request.full_name,
        response=rpc.response.full_name,
        fields=declared.fields(rpc.request.full_name),
        options=declared.options_of_method(service.full_name, rpc.name),
        emits=emits,
        reads=tuple(reads),
    )


def _event(
    event: Event,
    aggregate: Aggregate,
    emissions: Mapping[str, tuple[str, ...]],
    app: App,
    declared: _Declared,
) -> CatalogEvent:
    event_type = event.message.full_name
    current = app.upcasters.current_type(event_type)
    return CatalogEvent(
        event_type=event_type,
        doc=summary_of(event.doc),
        deprecated=event.deprecated,
        read_as="" if current == event_type else current,
        fields=declared.fields(event_type),
        options=declared.options_of_message(event_type),
        emitted_by=tuple(
            rpc.name
            for service in aggregate.commands
            for rpc in service.rpcs
            if event_type in emissions.get(rpc.python_name, ())
        ),
        handled_by=tuple(
            projection.name for projection in app.projections if current in projection.handlers
        ),
        reacted_to_by=tuple(
            reaction.name for reaction in app.reactions if current in reaction.handlers
        ),
    )


def _queries_reading(projection: str, app: App) -> Iterator[str]:
    for binding in app.bindings:
        if any(read.name == projection for read in binding.reads):
            yield from (method.path for method in binding.service.methods)
