"""Which module holds a proto's classes, and how another generated module imports it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from eskit.codegen.python import names

_ESKIT = {
    "eventsourcing/options.proto": ("eskit.schema", "options_pb2"),
    "eventsourcing/response.proto": ("eskit.schema", "response_pb2"),
}


Grouped: TypeAlias = list[tuple[str, list[str]]]
"""Statements: a package, and what is imported from it."""

_PIECE = re.compile(r"[0-9]+|[^0-9]")


@dataclass(frozen=True, slots=True, order=True)
class Import:
    """``from <package> import <module> as <alias>``; `alias` is empty where it is the module."""

    package: str
    module: str
    alias: str = ""

    @property
    def name(self) -> str:
        """What the importing module calls it."""
        return self.alias or self.module


def grouped(imports: Iterable[Import]) -> Grouped:
    """One statement for each package, and one for each name that is given another."""
    together: dict[str, list[str]] = {}
    alone: Grouped = []
    for found in set(imports):
        if found.alias:
            alone.append((found.package, [f"{found.module} as {found.alias}"]))
        else:
            together.setdefault(found.package, []).append(found.module)
    statements = [
        *((package, sorted(names, key=_member_order)) for package, names in together.items()),
        *alone,
    ]
    return in_order(statements)


def in_order(statements: Iterable[tuple[str, list[str]]]) -> Grouped:
    """As formatters sort them: absolute packages first, then relative ones, farthest first."""
    return sorted(statements, key=lambda item: (_package_order(item[0]), _member_order(item[1][0])))


def _package_order(package: str) -> tuple[object, ...]:
    name = package.lstrip(".")
    dots = len(package) - len(name)
    return bool(dots), -dots, _natural(name.lower()), _natural(name)


def _member_order(member: str) -> tuple[object, ...]:
    """Constants, then classes, then the rest."""
    name = member.partition(" ")[0]
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[0].isupper() else 2
    return kind, _natural(name.lower()), _natural(name), member


def _natural(text: str) -> tuple[tuple[int, int], ...]:
    """A key by which ``v2`` comes before ``v10``."""
    return tuple(
        (ord("0"), int(piece)) if piece.isdecimal() else (ord(piece), 0)
        for piece in _PIECE.findall(text)
    )


class Modules:
    """Places of modules; `generated` are the protos that have one in the output folder."""

    def __init__(self, generated: Iterable[str]) -> None:
        self._generated = frozenset(generated)

    def is_generated(self, proto: str) -> bool:
        """Whether the proto's module is in the output folder."""
        return proto in self._generated

    def locate(self, proto: str, *, seen_from: str, suffix: str = "_pb2") -> tuple[str, str]:
        """Package and module of `proto` for an import in the module of `seen_from`.

        Generated modules are found relative to each other, whatever package they end up in.
        """
        if proto in _ESKIT:
            return _ESKIT[proto]
        if proto not in self._generated:
            package, _, module = names.protoc_module(proto).rpartition(".")
            return package, module
        *target, stem = names.module_parts(proto)
        here = names.module_parts(seen_from)[:-1] if seen_from else ()
        shared = 0
        for ours, theirs in zip(here, target, strict=False):
            if ours != theirs:
                break
            shared += 1
        dots = "." * (len(here) - shared + 1)
        return dots + ".".join(target[shared:]), f"{stem}{suffix}"


def aliased(
    protos: Iterable[str],
    modules: Modules,
    *,
    seen_from: str,
    suffix: str = "_pb2",
    private: bool = False,
) -> dict[str, Import]:
    """By proto, the import of its module, with aliases where two have one name."""
    located = {
        proto: modules.locate(proto, seen_from=seen_from, suffix=suffix)
        for proto in sorted(set(protos))
    }
    counts: dict[str, int] = {}
    for _, module in located.values():
        counts[module] = counts.get(module, 0) + 1
    imports = {}
    for proto, (package, module) in located.items():
        alias = ""
        if counts[module] > 1:
            alias = "_".join((*names.module_parts(proto)[:-1], module))
        if private:
            alias = f"_{alias or module}"
        imports[proto] = Import(package, module, alias)
    return imports
