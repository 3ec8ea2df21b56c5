"""What a proto says about aggregates, events and services through eskit's options.

Each function takes a descriptor of any pool, or the plain descriptor message that protoc
writes, and returns None where the option is not set.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, MethodOptions, ServiceDescriptorProto

from eskit.schema import options_pb2

ServiceKind: TypeAlias = Literal["command", "query"]


def aggregate_options(
    message: Descriptor | DescriptorProto,
) -> options_pb2.AggregateRootOptions | None:
    """``(eventsourcing.aggregate_root)`` of a state message."""
    options = message.options if isinstance(message, DescriptorProto) else message.GetOptions()
    if not options.HasExtension(options_pb2.aggregate_root):
        return None
    return options.Extensions[options_pb2.aggregate_root]


def event_options(message: Descriptor | DescriptorProto) -> options_pb2.EventOptions | None:
    """``(eventsourcing.event)`` of an event message."""
    options = message.options if isinstance(message, DescriptorProto) else message.GetOptions()
    if not options.HasExtension(options_pb2.event):
        return None
    return options.Extensions[options_pb2.event]


def service_options(
    service: ServiceDescriptor | ServiceDescriptorProto,
) -> options_pb2.ServiceOptions | None:
    """``(eventsourcing.service)`` of a service."""
    options = (
        service.options if isinstance(service, ServiceDescriptorProto) else service.GetOptions()
    )
    if not options.HasExtension(options_pb2.service):
        return None
    return options.Extensions[options_pb2.service]


def service_kind(service: ServiceDescriptorProto) -> ServiceKind:
    """Queries are services called ``…QueryService``, or whose rpcs all say they only read."""
    only_reads = all(
        rpc.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS for rpc in service.method
    )
    return "query" if service.name.endswith("QueryService") or only_reads else "command"
