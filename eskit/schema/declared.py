"""What protos declare, by their descriptors and without generated code: event types and methods.

The message classes of methods are of a pool of their own, not those of generated code.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FileDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from eskit.domain.services import Method
from eskit.schema.options import ServiceKind, event_options, service_kind
from eskit.schema.pools import find_file
from eskit.schema.recorded import EventSchema, parse_files, schema_pool


def declared_events(files: FileDescriptorSet, *, also: Iterable[str] = ()) -> dict[str, Descriptor]:
    """The messages marked as events, and those named in `also`, by full name."""
    pool = schema_pool(files)
    wanted = set(also)
    return {
        message.full_name: message
        for file in files.file
        for message in _messages(find_file(pool, file.name))
        if message.full_name in wanted or event_options(message) is not None
    }


def _messages(file: FileDescriptor) -> Iterator[Descriptor]:
    for message in file.message_types_by_name.values():
        yield from _with_nested(message)


def _with_nested(message: Descriptor) -> Iterator[Descriptor]:
    yield message
    for nested in message.nested_types:
        yield from _with_nested(nested)


def declared_methods(files: FileDescriptorSet) -> dict[str, Method]:
    """Every rpc by full name, but for those that stream. Raises RecordedSchemaInvalid."""
    pool = schema_pool(files)
    return {
        method.full_name: method
        for file in files.file
        for service in file.service
        for method in _methods(
            find_file(pool, file.name).services_by_name[service.name], service_kind(service)
        )
    }


def recorded_methods(schemas: Iterable[EventSchema]) -> dict[str, Method]:
    """The rpcs in the files that a store has recorded, each as the latest of them has it.

    A store records the files of its events, so these are the services declared in one of them or
    in what it imports. Raises RecordedSchemaInvalid.
    """
    by_schema: dict[str, Mapping[str, Method]] = {}
    found: dict[str, Method] = {}
    for schema in sorted(schemas, key=lambda schema: schema.first_position):
        if schema.schema_id not in by_schema:
            by_schema[schema.schema_id] = declared_methods(parse_files(schema.files))
        found |= by_schema[schema.schema_id]
    return found


def _methods(service: ServiceDescriptor, kind: ServiceKind) -> Iterator[Method]:
    for method in service.methods:
        if method.client_streaming or method.server_streaming:
            continue
        yield Method(
            service=service.full_name,
            name=method.name,
            python_name="",
            kind=kind,
            request=message_factory.GetMessageClass(method.input_type),
            response=message_factory.GetMessageClass(method.output_type),
        )
