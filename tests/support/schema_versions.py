"""Versions of one proto file, each in a pool of its own: what a service has deployed over time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message

from eskit.codegen.reading.protoc import parse_protos
from eskit.schema.recorded import schema_pool

PROTO3 = 'syntax = "proto3";'
_HEAD = """
{syntax}
package {package};
import "eventsourcing/options.proto";
"""
MONEY = """
syntax = "proto3";
package money;
message Money { int64 units = 1; }
"""
"""A file that versions may import."""


def event(name: str, fields: str) -> str:
    """A message that is marked as an event."""
    return f'message {name} {{ option (eventsourcing.event) = {{aggregate_name: "P"}}; {fields} }}'


def parsed(body: str, *, package: str = "parcel.v1", syntax: str = PROTO3) -> FileDescriptorSet:
    """The descriptors of a proto file."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "parcel.proto").write_text(_HEAD.format(syntax=syntax, package=package) + body)
        Path(folder, "money.proto").write_text(MONEY)
        return parse_protos([Path(folder)]).files


def descriptor(
    body: str, name: str, *, package: str = "parcel.v1", syntax: str = PROTO3
) -> Descriptor:
    """One message of a proto file."""
    pool = schema_pool(parsed(body, package=package, syntax=syntax))
    return pool.FindMessageTypeByName(f"{package}.{name}")


def message(body: str, name: str, **fields: Any) -> Message:
    """A message as the code of that version would make it."""
    return message_factory.GetMessageClass(descriptor(body, name))(**fields)
