"""Looking up files and messages in a pool of descriptors."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import TypeAlias, cast

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

FindType: TypeAlias = Callable[[str], type[Message] | None]
"""Gives the class of a message by its full name, or None for one that is not known."""

_WELL_KNOWN = "google.protobuf."
_ANY = "google.protobuf.Any"
_MODULES = (
    *("any", "api", "descriptor", "duration", "empty", "field_mask", "source_context"),
    *("struct", "timestamp", "type", "wrappers"),
)


def no_type(_: str) -> type[Message] | None:
    """Knows of no message."""
    return None


def descriptor_of(kind: type[Message]) -> Descriptor:
    """The descriptor of a message class, as the type its stubs should have."""
    return cast("Descriptor", kind.DESCRIPTOR)


def find_file(pool: DescriptorPool, name: str) -> FileDescriptor:
    """The file called `name`, which need not be ASCII; KeyError if the pool has none."""
    # As text, upb (as of protobuf 7.36) finds no name that has other characters than ASCII.
    return pool.FindFileByName(name.encode())  # type: ignore[arg-type]


def find_message(pool: DescriptorPool, full_name: str) -> Descriptor | None:
    """A message by its full name; protobuf's own types are added to a pool that lacks them."""
    with suppress(KeyError):
        return pool.FindMessageTypeByName(full_name)
    if full_name.startswith(_WELL_KNOWN):
        _add_well_known(pool)
        with suppress(KeyError):
            return pool.FindMessageTypeByName(full_name)
    return None


def is_open(descriptor: Descriptor) -> bool:
    """Whether a message can hold what its file knows nothing of: an Any, or extensions."""
    return any(_is_open_itself(message) for message in _reachable(descriptor))


@lru_cache(maxsize=1024)
def is_extendable(descriptor: Descriptor) -> bool:
    """Whether a message, or one within it, can hold extensions."""
    return any(message.is_extendable for message in _reachable(descriptor))


def _is_open_itself(message: Descriptor) -> bool:
    return message.full_name == _ANY or message.is_extendable


@lru_cache(maxsize=1024)
def _reachable(descriptor: Descriptor) -> tuple[Descriptor, ...]:
    """The message and every one that is a field's type in it."""
    found = {descriptor.full_name: descriptor}
    ahead = [descriptor]
    while ahead:
        for field in ahead.pop().fields:
            kind = field.message_type
            if kind is not None and kind.full_name not in found:
                found[kind.full_name] = kind
                ahead.append(kind)
    return tuple(found.values())


def _add_well_known(pool: DescriptorPool) -> None:
    for file in map(_well_known_file, _MODULES):  # importing is adding to the default pool
        if pool is not descriptor_pool.Default():
            for needed in (*_imports(file), file):
                with suppress(TypeError):  # the pool has another version of it
                    pool.Add(FileDescriptorProto.FromString(needed.serialized_pb))


def _well_known_file(name: str) -> FileDescriptor:
    module = importlib.import_module(f"{_WELL_KNOWN}{name}_pb2")
    return cast("FileDescriptor", module.DESCRIPTOR)


def _imports(file: FileDescriptor) -> Iterator[FileDescriptor]:
    for dependency in file.dependencies:
        yield from _imports(dependency)
        yield dependency
