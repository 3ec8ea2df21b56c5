"""The project's protos, read for what they declare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from eskit.codegen.analyse import analyse
from eskit.codegen.model import Schema
from eskit.codegen.protoc import compile_protos
from eskit.errors import SchemaInvalid


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


def read_protos(roots: Sequence[Path]) -> Protos:
    """Parse every proto below `roots`.

    Raises SchemaInvalid with every finding when they cannot work.
    """
    sources = {
        path.relative_to(root).as_posix(): path
        for root in reversed(roots)
        for path in sorted(root.rglob("*.proto"))
    }
    names = sorted(name for name in sources if not name.startswith("eventsourcing/"))
    compiled = compile_protos(roots, names)

    def read(name: str) -> str | None:
        return sources[name].read_text("utf-8") if name in sources else None

    schema, findings = analyse(compiled.files, names, read=read, reserved_packages=())
    errors = [f for f in (*compiled.messages, *findings) if f.severity == "error"]
    if errors:
        raise SchemaInvalid(
            f"The protos have {len(errors)} error{'s' if len(errors) > 1 else ''}; "
            f"the first: {errors[0].message}",
            diagnostics=errors,
            hint=errors[0].hint,
        )
    return Protos(schema, compiled.files)


def _messages(
    scope: str, messages: Iterable[DescriptorProto]
) -> Iterator[tuple[str, DescriptorProto]]:
    for message in messages:
        name = f"{scope}.{message.name}" if scope else message.name
        yield name, message
        yield from _messages(name, message.nested_type)
