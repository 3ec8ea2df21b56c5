"""Run protoc inside this process: one run parses the protos and writes their pb2 modules."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO
from zipfile import ZipFile

from google.protobuf.descriptor_pb2 import (
    EDITION_2024,
    DescriptorProto,
    FeatureSet,
    FieldDescriptorProto,
    FileDescriptorSet,
)

from eskit.codegen.reading.diagnostics import read_diagnostics
from eskit.codegen.reading.duplicates import merge_duplicates
from eskit.codegen.reading.locate import PathInFile
from eskit.codegen.reading.sources import Sources, include_folders, load_sources
from eskit.errors import Diagnostic, MissingPackage, SchemaInvalid
from eskit.schema import options_pb2

try:
    # Not grpc_tools.protoc: importing that installs finders in sys.meta_path which compile protos
    # on import.
    from grpc_tools import _protoc_compiler
except ModuleNotFoundError as error:
    raise MissingPackage("Reading protos", "grpcio-tools") from error

# Field numbers of descriptor.proto, of which places in a file are made.
_MESSAGES, _FILE_EXTENSIONS = 4, 7
_FIELDS, _NESTED, _EXTENSIONS = 2, 3, 6
_JSON_NAME = 10

_stderr_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """What protoc made of a set of protos.

    `files` holds the requested files and everything they import, dependencies first;
    `modules` the text of their pb2 modules by proto file name. `messages` are errors and
    warnings; with an error among them the rest is empty.
    """

    files: FileDescriptorSet
    modules: Mapping[str, str]
    messages: tuple[Diagnostic, ...]


def compile_protos(roots: Sequence[Path], files: Mapping[str, Path]) -> Compiled:
    """Parse `files` (by name relative to their root) and generate the pb2 module of each."""
    paths = {str(path.absolute()): name for name, path in files.items()}
    folders = [f"-I{folder.absolute()}" for folder in include_folders(roots)]
    compiled = _run(folders, list(files), list(paths))
    # protoc calls the files it was given by their paths, and imported ones by their names.
    messages = [m._replace(file=paths.get(m.file, m.file)) for m in compiled.messages]
    return replace(compiled, messages=tuple(merge_duplicates(messages)))


def compile_descriptors(files: FileDescriptorSet, names: Sequence[str]) -> Compiled:
    """The same, from protos that buf or protoc has parsed."""
    with tempfile.TemporaryDirectory(prefix="eskit-protoc-") as folder:
        descriptors = Path(folder, "in.binpb")
        descriptors.write_bytes(_as_written(files, names).SerializeToString())
        return _run([f"--descriptor_set_in={descriptors}"], names, names)


def parse_descriptors(data: bytes) -> FileDescriptorSet:
    """Read descriptors with eskit's options in them."""
    # Options of extensions that are not loaded by now would be unknown fields.
    options_pb2.DESCRIPTOR  # noqa: B018
    return FileDescriptorSet.FromString(data)


def _as_written(files: FileDescriptorSet, names: Sequence[str]) -> FileDescriptorSet:
    """`files` without the JSON names that compilers add for plugins.

    protoc keeps a JSON name in the generated module only if the proto writes one.
    """
    copy = FileDescriptorSet()
    copy.CopyFrom(files)
    for file in copy.file:
        # Of a file that is only imported, plugins are not told that its names need not be styled.
        if file.name not in names and file.edition >= EDITION_2024:
            file.options.features.enforce_naming_style = FeatureSet.STYLE_LEGACY
        written = {
            tuple(place.path[:-1])
            for place in file.source_code_info.location
            if place.path and place.path[-1] == _JSON_NAME
        }
        _drop_json_names(file.extension, (_FILE_EXTENSIONS,), written)
        for index, message in enumerate(file.message_type):
            _drop_json_names_in(message, (_MESSAGES, index), written)
    return copy


def _drop_json_names_in(
    message: DescriptorProto, place: PathInFile, written: set[PathInFile]
) -> None:
    _drop_json_names(message.field, (*place, _FIELDS), written)
    _drop_json_names(message.extension, (*place, _EXTENSIONS), written)
    for index, nested in enumerate(message.nested_type):
        _drop_json_names_in(nested, (*place, _NESTED, index), written)


def _drop_json_names(
    fields: Iterable[FieldDescriptorProto], place: PathInFile, written: set[PathInFile]
) -> None:
    """Drop unwritten names: those without a place in the file, else those that are the default."""
    for index, field in enumerate(fields):
        first, *rest = field.name.split("_")
        default = first + "".join(part[:1].upper() + part[1:] for part in rest)
        if field.json_name == default and (*place, index) not in written:
            field.ClearField("json_name")


def _run(sources: Sequence[str], names: Sequence[str], arguments: Sequence[str]) -> Compiled:
    with tempfile.TemporaryDirectory(prefix="eskit-protoc-") as folder:
        descriptors = Path(folder, "out.binpb")
        modules = Path(folder, "python.zip")  # protoc writes one file instead of hundreds
        status, output = _protoc(
            *sources,
            f"--python_out={modules}",
            f"--descriptor_set_out={descriptors}",
            "--include_imports",
            "--include_source_info",
            *arguments,
        )
        messages = tuple(read_diagnostics(output))
        if status:
            return Compiled(files=FileDescriptorSet(), modules={}, messages=messages)
        # protoc writes names as they are, without the mark that says they are UTF-8.
        with ZipFile(modules, metadata_encoding="utf-8") as archive:
            texts = {name: archive.read(_module_path(name)).decode() for name in names}
        return Compiled(
            files=parse_descriptors(descriptors.read_bytes()), modules=texts, messages=messages
        )


def _protoc(*arguments: str) -> tuple[int, str]:
    """Run protoc; its exit status, and what it wrote to standard error."""
    command = [os.fsencode(argument) for argument in ("protoc", *arguments)]
    with _stderr_lock, _captured_stderr() as captured:
        status = _protoc_compiler.run_main(command)
        captured.seek(0)
        return status, captured.read().decode("utf-8", "replace")


@contextmanager
def _captured_stderr() -> Iterator[IO[bytes]]:
    """The file descriptor is redirected, because protoc writes to it from C++."""
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as captured:
        saved = os.dup(2)
        os.dup2(captured.fileno(), 2)
        try:
            yield captured
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _module_path(name: str) -> str:
    stem = name.removesuffix(".proto").replace("-", "_").replace(".", "/")
    return f"{stem}_pb2.py"


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
