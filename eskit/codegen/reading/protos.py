"""The project's protos, read for what they declare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import google.protobuf
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from eskit.codegen.reading.model import Schema
from eskit.codegen.reading.protoc import compile_descriptors, parse_protos
from eskit.codegen.reading.tree import check_schema
from eskit.project.layout import Project
from eskit.schema.loading import needed_protobuf


@dataclass(frozen=True, slots=True)
class Protos:
    """What all protos of a project declare."""

    schema: Schema
    files: FileDescriptorSet

    def messages_with(self, field: str) -> frozenset[str]:
        """The full names of the messages that have a field of that name."""
        return frozenset(
            name
            for file in self.files.file
            for name, message in _messages(file.package, file.message_type)
            if any(declared.name == field for declared in message.field)
        )


def protobuf_version() -> str:
    """The oldest protobuf that can load what protoc generates here, such as ``7.35.1``."""
    probe = FileDescriptorSet()
    probe.file.add(name="eskit_probe.proto", syntax="proto3")
    module = compile_descriptors(probe, ["eskit_probe.proto"]).modules["eskit_probe.proto"]
    return needed_protobuf(module) or google.protobuf.__version__


def read_protos(project: Project) -> Protos:
    """Parse every proto of a project.

    Raises SchemaInvalid with every finding when they cannot work, ProjectError when there is
    none.
    """
    parsed = parse_protos(project.proto_paths, exclude=project.exclude)
    sources = parsed.sources
    schema, _ = check_schema(
        parsed.files, sources.names, sources=sources, nats_prefix=project.nats_prefix
    )
    return Protos(schema, parsed.files)


def _messages(
    scope: str, messages: Iterable[DescriptorProto]
) -> Iterator[tuple[str, DescriptorProto]]:
    for message in messages:
        name = f"{scope}.{message.name}" if scope else message.name
        yield name, message
        yield from _messages(name, message.nested_type)
