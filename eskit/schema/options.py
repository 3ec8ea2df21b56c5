"""What a proto says about aggregates, events and services through eskit's options.

Each function takes a descriptor of any pool, or the plain descriptor message that protoc
writes, and returns None where the option is not set.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, ServiceDescriptorProto

from eskit.schema import options_pb2


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
