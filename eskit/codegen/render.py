"""Turn a schema into the text of generated modules, through the templates."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from textwrap import wrap
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from eskit.codegen import names
from eskit.codegen.imports import Import, Modules, aliased
from eskit.codegen.model import MessageRef, Schema, SourceFile
from eskit.codegen.sdk import sdk_groups
from eskit.codegen.stubs import StubModule
from eskit.resources import templates_dir

LINE_LENGTH = 88
"""Generated code fits the shortest line length that formatters use by default."""


def render_services(file: SourceFile, schema: Schema, modules: Modules) -> str:
    """The ``*_es.py`` of a proto file."""
    refs = [
        *(a.state for a in file.aggregates),
        *(e.message for a in file.aggregates for e in a.events),
        *(r for a in file.aggregates for s in a.commands for rpc in s.rpcs for r in _refs(rpc)),
        *file.events,
        *(r for s in file.services for rpc in s.rpcs for r in _refs(rpc)),
    ]
    imports = aliased({ref.file for ref in refs}, modules, seen_from=file.name)

    def path(ref: MessageRef) -> str:
        return f"{imports[ref.file].name}.{ref.path}"

    elsewhere: dict[str, list[str]] = {}
    for aggregate in file.aggregates:
        for service in aggregate.commands:
            if service.file != file.name:
                elsewhere.setdefault(service.file, []).append(service.constant)
    return _template("es.py.jinja").render(
        file=file,
        class_of=path,
        class_name=names.class_name,
        modules=_by_package(imports.values()),
        elsewhere=[
            (modules.locate(name, seen_from=file.name, suffix="_es"), sorted(set(constants)))
            for name, constants in sorted(elsewhere.items())
        ],
        kinds={service.kind for service in file.services},
        has_deprecated=any(e.deprecated for a in file.aggregates for e in a.events),
        has_active=any(not e.deprecated for a in file.aggregates for e in a.events),
    )


def render_sdk(schema: Schema, modules: Modules, *, app_name: str) -> str:
    """``sdk.py``: one class over all services of the project."""
    groups = [group for group in sdk_groups(schema) if group.services]
    files = {service.file for group in groups for service in group.services}
    imports = aliased(files, modules, seen_from="", suffix="_es")
    return _template("sdk.py.jinja").render(
        name=f"{names.camel_case(app_name)}Sdk",
        app_name=app_name,
        groups=groups,
        modules=_by_package(imports.values()),
        module_of={name: found.name for name, found in imports.items()},
    )


def render_stub(module: StubModule) -> str:
    """The ``.pyi`` of a pb2 module."""
    return _template("pb2.pyi.jinja").render(module=module)


def _refs(rpc: Any) -> tuple[MessageRef, MessageRef]:
    return rpc.request, rpc.response


def _by_package(imports: Iterable[Import]) -> list[tuple[str, list[str]]]:
    """Absolute packages first, then relative ones, farthest first, as formatters sort them."""
    grouped: dict[str, list[str]] = {}
    for found in sorted(set(imports)):
        text = f"{found.module} as {found.alias}" if found.alias else found.module
        grouped.setdefault(found.package, []).append(text)
    return sorted(grouped.items(), key=lambda item: _import_order(item[0]))


def _import_order(package: str) -> tuple[bool, int, str]:
    dots = len(package) - len(package.lstrip("."))
    return bool(dots), -dots, package


def docstring(text: str, indent: int) -> str:
    """A comment as a docstring: quoted safely, wrapped, its own line breaks kept."""
    text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    pad = " " * indent
    room = LINE_LENGTH - indent
    lines = [
        part
        for line in text.splitlines()
        for part in (wrap(line, room, break_long_words=False) if len(line) > room else [line])
    ]
    if len(lines) == 1 and len(lines[0]) <= room - 6 and not lines[0].endswith('"'):
        return f'"""{lines[0]}"""'
    lines[:1] = wrap(lines[0], room - 3, break_long_words=False)
    body = "\n".join([lines[0], *(f"{pad}{line}".rstrip() for line in lines[1:])])
    return f'"""{body}\n{pad}"""'


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates_dir() / "codegen"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  Python code, not HTML
    )
    environment.filters["docstring"] = docstring
    environment.globals["line_length"] = LINE_LENGTH
    return environment


@cache
def _template(name: str) -> Any:
    return _environment().get_template(name)
