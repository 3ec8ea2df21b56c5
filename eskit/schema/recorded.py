"""The schemas that a store keeps of the events it holds, and decoding with them.

An event type's schema is its proto file with everything that file imports, as serialised
descriptors. Files that come with protobuf (``google/protobuf/…``) and with eskit are left out
of the imports: whoever decodes has them.
"""

from __future__ import annotations

import importlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import cast

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message

from eskit.domain.events import RecordedEvent
from eskit.domain.messages import PayloadInvalid
from eskit.errors import EskitError, InvalidArgument, NotFound, UnknownEventType
from eskit.files.regular import read_regular
from eskit.schema.pools import find_message

_WELL_KNOWN = "google/protobuf/"
_OPTIONS = "eventsourcing/options.proto"


class RecordedSchemaInvalid(EskitError):
    """A schema that a store kept and that cannot be read any more."""

    code = "RECORDED_SCHEMA_INVALID"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSchema:
    """The schema of an event type from `first_position` of the log on.

    `files` is a serialised FileDescriptorSet, dependencies first; `schema_id` the sha256 of it,
    as hexadecimal text.
    """

    event_type: str
    schema_id: str
    files: bytes
    first_position: int


def schema_of(kind: type[Message], *, first_position: int) -> EventSchema:
    """The schema of a loaded message class."""
    descriptor = cast("Descriptor", kind.DESCRIPTOR)
    schema_id, files = _packed(descriptor.file)
    return EventSchema(
        event_type=descriptor.full_name,
        schema_id=schema_id,
        files=files,
        first_position=first_position,
    )


@lru_cache(maxsize=1024)
def _packed(file: FileDescriptor) -> tuple[str, bytes]:
    """The identity and the bytes of a file with all that it imports."""
    packed = FileDescriptorSet()
    for needed in [*_imports(file, seen=set()), file]:
        packed.file.append(FileDescriptorProto.FromString(needed.serialized_pb))
    data = packed.SerializeToString(deterministic=True)
    return sha256(data).hexdigest(), data


def _imports(file: FileDescriptor, *, seen: set[str]) -> Iterator[FileDescriptor]:
    """What a file imports, directly or not, each after what it needs itself."""
    for dependency in file.dependencies:
        if dependency.name not in seen and not is_always_there(dependency.name):
            seen.add(dependency.name)
            yield from _imports(dependency, seen=seen)
            yield dependency


def is_always_there(file: str) -> bool:
    """Whether a proto file comes with protobuf or with eskit."""
    return file.startswith(_WELL_KNOWN) or file == _OPTIONS


def schema_pool(files: FileDescriptorSet) -> DescriptorPool:
    """A pool of its own for `files`, which are in any order.

    Its classes are not those of the generated code, and two schemas that contradict each other
    can be loaded at a time. Raises RecordedSchemaInvalid when a file is missing or damaged.
    """
    pool = DescriptorPool()
    waiting = {file.name: file for file in files.file}
    added: set[str] = set()

    def add(name: str) -> None:
        if name in added:
            return
        added.add(name)
        file = waiting.get(name) or _file_that_is_there(name)
        for dependency in file.dependency:
            add(dependency)
        pool.Add(file)

    for name in list(waiting):
        try:
            add(name)
        except (ImportError, TypeError, KeyError) as error:
            raise RecordedSchemaInvalid(
                f"The schema in {name} cannot be read: {error}",
                hint="Its events are shown undecoded, unless generated code has the type.",
            ) from error
    return pool


def _file_that_is_there(name: str) -> FileDescriptorProto:
    """A file of protobuf's or eskit's own."""
    package = "eskit.schema.options_pb2"
    if name != _OPTIONS:
        package = name.removesuffix(".proto").replace("/", ".") + "_pb2"
        if not name.startswith(_WELL_KNOWN):
            raise KeyError(f"it imports {name}, which is not kept with it")
    descriptor: FileDescriptor = importlib.import_module(package).DESCRIPTOR
    return FileDescriptorProto.FromString(descriptor.serialized_pb)


def parse_files(data: bytes) -> FileDescriptorSet:
    """The files of a stored schema; RecordedSchemaInvalid when the bytes are damaged."""
    importlib.import_module("eskit.schema.options_pb2")  # else its options are unknown fields
    try:
        return FileDescriptorSet.FromString(data)
    except DecodeError as error:
        raise RecordedSchemaInvalid(
            f"A recorded schema cannot be read: {error}",
            hint="Check the store: eskit store verify",
        ) from error


def check_schema(schema: EventSchema) -> None:
    """Raise InvalidArgument for a schema that is not what was kept, or not of its type."""
    if sha256(schema.files).hexdigest() != schema.schema_id:
        raise InvalidArgument(f"the schema of {schema.event_type} has another checksum")
    try:
        schema_pool(parse_files(schema.files)).FindMessageTypeByName(schema.event_type)
    except (KeyError, RecursionError, RecordedSchemaInvalid) as error:
        raise InvalidArgument(
            f"the schema of {schema.event_type} does not describe it: {error}"
        ) from error


def read_descriptor_set(path: Path) -> FileDescriptorSet:
    """A serialised FileDescriptorSet with all its imports.

    Raises NotFound for a file that is not there, and InvalidArgument for another one.
    """
    try:
        files = parse_files(read_regular(path))
        schema_pool(files)
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}") from None
    except OSError as error:
        raise InvalidArgument(f"Cannot read {path}: {error.strerror}") from error
    except RecordedSchemaInvalid as error:
        raise InvalidArgument(
            f"{path} is not a descriptor set that can be used: {error.message}",
            hint="Write one: protoc --include_imports --descriptor_set_out=FILE …",
        ) from error
    return files


class RecordedSchemas:
    """Decodes events with what the store knows of their types, without generated code."""

    def __init__(self, schemas: Iterable[EventSchema]) -> None:
        self._by_type: dict[str, list[EventSchema]] = {}
        for schema in sorted(schemas, key=lambda schema: schema.first_position):
            self._by_type.setdefault(schema.event_type, []).append(schema)
        self._pools: dict[str, DescriptorPool] = {}
        self._classes: dict[tuple[str, str], type[Message]] = {}

    @property
    def event_types(self) -> tuple[str, ...]:
        """Every event type with a schema, sorted."""
        return tuple(sorted(self._by_type))

    def versions(self, event_type: str) -> tuple[EventSchema, ...]:
        """The different schemas of a type, oldest first, each where it was first used."""
        first: dict[str, EventSchema] = {}
        for schema in self._by_type.get(event_type, ()):
            first.setdefault(schema.schema_id, schema)
        return tuple(first.values())

    def find(self, event_type: str, position: int) -> EventSchema | None:
        """The schema of the events of a type at a position.

        An event older than the first schema (recorded before stores kept them) is read with
        that one.
        """
        known = self._by_type.get(event_type)
        if not known:
            return None
        at = bisect_right(known, position, key=lambda schema: schema.first_position)
        return known[max(at - 1, 0)]

    def message_class(self, schema: EventSchema) -> type[Message]:
        """The class of an event type as that schema has it; RecordedSchemaInvalid."""
        key = schema.schema_id, schema.event_type
        found = self._classes.get(key)
        if found is None:
            found = self._classes[key] = self._make_class(schema)
        return found

    def decode(self, event_type: str, data: bytes, *, position: int) -> Message:
        """The message as it was written at `position`.

        Raises UnknownEventType for a type without a schema, PayloadInvalid for bytes that do not
        fit it, RecordedSchemaInvalid for a schema that cannot be read.
        """
        schema = self.find(event_type, position)
        if schema is None:
            raise UnknownEventType(event_type)
        try:
            return self.message_class(schema).FromString(data)
        except DecodeError as error:
            raise PayloadInvalid(
                f"{len(data)} bytes do not parse as the recorded {event_type}",
                hint="The payload is damaged. Check the store: eskit store verify",
            ) from error

    def find_type(self, full_name: str) -> type[Message] | None:
        """Any message of the schemas, as the newest that declares it has it; None for no such."""
        schemas = {found.schema_id: found for kept in self._by_type.values() for found in kept}
        for schema in sorted(schemas.values(), key=lambda s: s.first_position, reverse=True):
            with suppress(KeyError, RecordedSchemaInvalid):
                found = self._pool(schema).FindMessageTypeByName(full_name)
                return message_factory.GetMessageClass(found)
        return None

    def _pool(self, schema: EventSchema) -> DescriptorPool:
        pool = self._pools.get(schema.schema_id)
        if pool is None:
            pool = self._pools[schema.schema_id] = schema_pool(parse_files(schema.files))
        return pool

    def _make_class(self, schema: EventSchema) -> type[Message]:
        try:
            descriptor = self._pool(schema).FindMessageTypeByName(schema.event_type)
        except KeyError:
            raise RecordedSchemaInvalid(
                f"The recorded schema of {schema.event_type} does not declare it",
                hint="Its events are shown undecoded, unless generated code has the type.",
            ) from None
        return message_factory.GetMessageClass(descriptor)


class MessageSet:
    """Decodes events with one set of files, whatever their position in a log."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self._pool = schema_pool(files)

    def find_type(self, full_name: str) -> type[Message] | None:
        """Any message of the files."""
        found = find_message(self._pool, full_name)
        return message_factory.GetMessageClass(found) if found is not None else None

    def decode(self, event: RecordedEvent) -> Message:
        """The payload; UnknownEventType for a type that no file declares, PayloadInvalid."""
        kind = self.find_type(event.event_type)
        if kind is None:
            raise UnknownEventType(event.event_type)
        try:
            return kind.FromString(event.data)
        except DecodeError as error:
            raise PayloadInvalid(
                f"{len(event.data)} bytes do not parse as {event.event_type}"
            ) from error
