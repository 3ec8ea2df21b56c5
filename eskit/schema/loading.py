"""Why a generated module could not be loaded, in words.

protobuf keeps everything that was loaded in one pool, by file name, by full name and, for
extensions, by number; and it refuses code that a newer version of it has generated. What it says
then names neither the other side nor the way out.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import google.protobuf
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import DecodeError
from google.protobuf.runtime_version import VersionError

from eskit.errors import EskitError, SchemaInvalid
from eskit.schema.pools import find_file

_GENCODE = re.compile(r"^# Protobuf Python Version: (?P<version>\S+)$", re.MULTILINE)


def explain(error: BaseException) -> EskitError | None:
    """What an error that was raised while modules were imported is about.

    None for an error that has nothing to do with loading a generated module.
    """
    if not isinstance(error, (TypeError, VersionError)):
        return None
    module = _failing_module(error.__traceback__)
    if module is None:
        return None
    try:
        source = module.read_text("utf-8")
    except OSError:
        return None
    if isinstance(error, VersionError):
        return _too_old(module, source)
    file = _descriptor_in(source)
    return _clash(file, str(module)) if file else None


def clash_of(serialized: bytes, module: str) -> SchemaInvalid | None:
    """What the file that `module` holds has in common with something that is loaded."""
    try:
        return _clash(FileDescriptorProto.FromString(serialized), module)
    except DecodeError:
        return None


def needed_protobuf(source: str) -> str:
    """The oldest protobuf that loads a pb2 module, by its text; empty if it does not say."""
    found = _GENCODE.search(source)
    return found["version"] if found else ""


def _failing_module(traceback: TracebackType | None) -> Path | None:
    """The last pb2 module on the way to where the error was raised."""
    found = None
    while traceback is not None:
        path = Path(traceback.tb_frame.f_code.co_filename)
        if path.name.endswith("_pb2.py"):
            found = path
        traceback = traceback.tb_next
    return found


def _too_old(module: Path, source: str) -> SchemaInvalid | None:
    needed = needed_protobuf(source)
    if not needed:
        return None
    return SchemaInvalid(
        f"{module.name} was generated for protobuf {needed}, and "
        f"{google.protobuf.__version__} is installed",
        code="PROTOBUF_TOO_OLD",
        hint=f"pip install 'protobuf>={needed}'",
    )


def _descriptor_in(source: str) -> FileDescriptorProto | None:
    """The file descriptor that a pb2 module holds as bytes."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "AddSerializedFile"
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, bytes)
        ):
            try:
                return FileDescriptorProto.FromString(node.args[0].value)
            except DecodeError:
                return None
    return None


def _clash(file: FileDescriptorProto, module: str) -> SchemaInvalid | None:
    """What `file` has in common with something that is loaded."""
    pool = descriptor_pool.Default()
    try:
        other = find_file(pool, file.name)
    except KeyError:
        pass
    else:
        return SchemaInvalid(
            f"{module} and {_home(other)} hold different versions of {file.name}",
            code="SCHEMA_CLASH",
            hint="One process can load one of them: generate both from the same protos, or give "
            "one file another path below its proto root.",
        )
    for name in _symbols(file):
        try:
            other = pool.FindFileContainingSymbol(name)
        except KeyError:
            continue
        return SchemaInvalid(
            f"{name} is declared by {file.name} and by {other.name}, which {_home(other)} loaded",
            code="SCHEMA_CLASH",
            hint="Give one of the two files another package, or generate it once and share it.",
        )
    for extension in _extensions(file):
        try:
            extended = pool.FindMessageTypeByName(extension.extendee.removeprefix("."))
            taken = pool.FindExtensionByNumber(extended, extension.number)
        except KeyError:
            continue
        other = pool.FindFileContainingSymbol(taken.full_name)
        return SchemaInvalid(
            f"Extension {extension.number} of {extended.full_name} is {extension.name} in "
            f"{file.name} and {taken.full_name} in {other.name}, which {_home(other)} loaded",
            code="SCHEMA_CLASH",
            hint=f"Give {extension.name} another number; eskit's own are 50002 to 50004.",
        )
    return None


def _home(file: FileDescriptor) -> str:
    """The module that a loaded file came with."""
    for name, module in list(sys.modules.items()):
        if getattr(module, "DESCRIPTOR", None) is file:
            return name
    return "another module"


def _symbols(file: FileDescriptorProto) -> Iterator[str]:
    scope = f"{file.package}." if file.package else ""
    names = [
        *(message.name for message in file.message_type),
        *(enum.name for enum in file.enum_type),
        *(value.name for enum in file.enum_type for value in enum.value),
        *(service.name for service in file.service),
        *(extension.name for extension in file.extension),
    ]
    return (f"{scope}{name}" for name in names)


def _extensions(file: FileDescriptorProto) -> Iterator[FieldDescriptorProto]:
    yield from file.extension
    messages: list[DescriptorProto] = list(file.message_type)
    while messages:
        message = messages.pop()
        yield from message.extension
        messages.extend(message.nested_type)
