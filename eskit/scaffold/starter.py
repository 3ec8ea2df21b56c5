"""A first proto for an aggregate that has none."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from eskit.codegen.python import names
from eskit.errors import InvalidArgument, ProjectError
from eskit.project.layout import Project
from eskit.resources import templates_dir
from eskit.scaffold.plan import Plan
from eskit.scaffold.render import render
from eskit.text.suggestions import find_nearest

_AGGREGATE = re.compile(r"[A-Z][A-Za-z0-9]{0,39}")
_FIELD = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_TYPES = (
    *("string", "bytes", "bool", "double", "float"),
    *("int32", "int64", "uint32", "uint64", "sint32", "sint64"),
    *("fixed32", "fixed64", "sfixed32", "sfixed64"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StarterField:
    """A field of the state, given as ``owner:string``."""

    name: str
    type: str


def new_proto(project: Project, name: str, *, fields: Sequence[str] = ()) -> Plan:
    """Plan a proto for an aggregate called `name` with `fields`, each as ``owner:string``.

    It declares the state, a command that creates it and the event of that. Raises
    InvalidArgument for a name or a field that cannot be, TARGET_EXISTS when the proto is there.
    """
    if not _AGGREGATE.fullmatch(name):
        raise InvalidArgument(
            f"{name!r} is neither a proto file nor the name of an aggregate",
            hint="Name a file that ends in .proto, or an aggregate such as Invoice.",
        )
    module = names.snake_case(name)
    declared = [_field(text) for text in fields]
    taken = [f"{module}_id", *(field.name for field in declared)]
    for field in declared:
        if taken.count(field.name) > 1:
            raise InvalidArgument(f"Two fields are called {field.name!r}")
    folder = project.proto_paths[0] / module / "v1"
    file = folder / f"{module}.proto"
    if file.exists():
        raise ProjectError(
            f"{file} exists already",
            code="TARGET_EXISTS",
            hint=f"Use it: eskit new aggregate {_shown(project, file)}",
        )
    data: dict[str, object] = {
        "folder": folder.relative_to(project.root).as_posix(),
        "module": module,
        "name": name,
        "package": f"{module}.v1",
        "id_field": f"{module}_id",
        "fields": declared,
    }
    return Plan(
        root=project.root,
        files=tuple(render(templates_dir() / "starter", data)),
        next_steps=(f"eskit new aggregate {_shown(project, file)}",),
    )


def _shown(project: Project, file: os.PathLike[str]) -> str:
    return os.path.relpath(file, project.root)


def _field(text: str) -> StarterField:
    name, colon, kind = text.partition(":")
    if not colon or not _FIELD.fullmatch(name):
        raise InvalidArgument(
            f"{text!r} is not a field", hint="Write --field owner:string, the name in snake case."
        )
    if kind not in _TYPES:
        near = find_nearest(kind, _TYPES)
        raise InvalidArgument(
            f"Field {name} cannot be {kind!r}",
            hint=f"Did you mean {near}?" if near else f"Types: {', '.join(_TYPES)}.",
        )
    return StarterField(name=name, type=kind)
