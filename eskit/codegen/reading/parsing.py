"""Protos as descriptors, without generating anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from eskit.codegen.reading.protoc import compile_protos
from eskit.codegen.reading.sources import Sources, load_sources
from eskit.errors import SchemaInvalid


@dataclass(frozen=True, slots=True)
class Parsed:
    """The protos of some folders: where they are, and what they and their imports declare."""

    sources: Sources
    files: FileDescriptorSet


def parse_protos(roots: Sequence[Path], *, exclude: Sequence[str] = ()) -> Parsed:
    """Parse every proto below `roots` that is not left out.

    Raises SchemaInvalid with every error of protoc, ProjectError when there is no proto.
    """
    sources = load_sources(roots, exclude=exclude)
    compiled = compile_protos(sources.roots, sources.files)
    errors = [
        message._replace(file=sources.display(message.file))
        for message in compiled.messages
        if message.severity == "error"
    ]
    if errors:
        raise SchemaInvalid(
            "The protos cannot be read", diagnostics=errors, hint="Correct them first."
        )
    return Parsed(sources, compiled.files)
