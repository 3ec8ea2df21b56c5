"""Regenerate eskit's own messages, which are committed: options and the wire's response."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.descriptor_pool import DescriptorPool

from eskit.codegen.output import GenResult, update
from eskit.codegen.python.imports import Modules
from eskit.codegen.reading.locate import Locator
from eskit.codegen.reading.protoc import compile_protos
from eskit.codegen.reading.tree import render_messages
from eskit.errors import SchemaInvalid
from eskit.resources import proto_dir

_SCHEMA = Path(__file__).resolve().parent.parent / "schema"


def regenerate(*, check: bool = False) -> GenResult:
    """Bring ``eskit/schema`` up to date with ``proto/eventsourcing``, or only compare."""
    folder = proto_dir()
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.proto")}
    compiled = compile_protos([], dict(sorted(paths.items())))
    if not compiled.files.file:
        raise SchemaInvalid("eskit's own protos do not compile", diagnostics=compiled.messages)
    pool = DescriptorPool()
    tree: dict[str, str] = {}
    for file in compiled.files.file:
        pool.Add(file)
        if file.name in paths:
            pb2 = compiled.modules[file.name]
            locator = Locator(file, lambda _: None)
            stem = Path(file.name).stem
            tree |= render_messages(file, pool, pb2, Modules([]), locator, path=stem)
    return update(_SCHEMA, tree, check=check, force=True)
