"""The event types that a set of protos declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from eskit.schema.options import event_options
from eskit.schema.pools import find_file
from eskit.schema.recorded import schema_pool


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
