"""Protos from text, generated into a package that can be imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from eskit.codegen.generate import GenResult, generate
from eskit.errors import Diagnostic, SchemaInvalid

TEMPLATES = Path(__file__).parents[2] / "templates" / "project"
EXAMPLES = ("bank", "subscription")

HEAD = """\
syntax = "proto3";
package {package};
import "eventsourcing/options.proto";
"""


def proto(package: str, body: str) -> str:
    """A proto file that may use eskit's options."""
    return HEAD.format(package=package) + body


def write_protos(folder: Path, protos: Mapping[str, str]) -> Path:
    """Write the protos below `folder` and return it."""
    for name, text in protos.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def generate_into(package: Path, protos: Mapping[str, str], **options: object) -> GenResult:
    """Generate `protos` as ``<package>.gen``, with the protos in a folder beside it."""
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    root = write_protos(package.parent / "proto", protos)
    return generate(proto_roots=[root], output=package / "gen", app_name=package.name, **options)


def generate_example(example: str, package: Path) -> GenResult:
    """Generate one of the example projects as ``<package>.gen``."""
    package.mkdir(exist_ok=True)
    (package / "__init__.py").touch()
    return generate(
        proto_roots=[TEMPLATES / example / "proto"], output=package / "gen", app_name=example
    )


def findings(folder: Path, protos: Mapping[str, str]) -> list[Diagnostic]:
    """What the generator has against `protos`, with file names relative to the proto root."""
    with pytest.raises(SchemaInvalid) as caught:
        generate_into(folder / "refused", protos)
    root = folder / "proto"
    return [
        Diagnostic(
            severity=d.severity,
            code=d.code,
            message=d.message,
            hint=d.hint,
            file=Path(d.file).relative_to(root).as_posix(),
            line=d.line,
            column=d.column,
            width=d.width,
        )
        for d in caught.value.diagnostics
    ]


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let modules of `folder` be imported within the block."""
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def load(folder: Path, module: str) -> ModuleType:
    """Import a module that was generated below `folder`."""
    with importable(folder):
        return importlib.import_module(module)
