"""The methods that a class has, its own and inherited ones, found by reading the sources.

Nothing is imported: the user's code need not work yet. Bases are followed through the modules of
the project; those of installed packages are not looked at.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from eskit.errors import ProjectError

_Place = tuple[str, str]  # a module, and what is imported from it; empty for the module itself


def parse(path: Path, source: str) -> ast.Module:
    """The syntax tree of a file; ProjectError if it is not Python."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise ProjectError(
            f"{path}:{error.lineno} is not Python: {error.msg}", hint="Correct it first."
        ) from error


def last_name(base: ast.expr) -> str:
    """``AccountAggregate`` of ``es.AccountAggregate``; empty for what is no name."""
    if isinstance(base, ast.Attribute):
        return base.attr
    return base.id if isinstance(base, ast.Name) else ""


class Sources:
    """The modules below `root`, the folder that holds the project's package."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tree = cache(lambda path: parse(path, path.read_text(encoding="utf-8")))

    def classes(self, path: Path) -> list[ast.ClassDef]:
        """Every class in the file at `path`. Raises ProjectError if it is not Python."""
        return [node for node in ast.walk(self._tree(path)) if isinstance(node, ast.ClassDef)]

    def methods(self, path: Path, owner: ast.ClassDef, *, beside: str) -> set[str]:
        """What `owner` and its bases define, but for abstract methods.

        The base called `beside`, and what it derives from, is left out.
        """
        found: set[str] = set()
        seen = {owner}
        ahead = [(path, owner)]
        while ahead:
            where, node = ahead.pop()
            found.update(_defined(node))
            for base in node.bases:
                known = None if last_name(base) == beside else self._find(where, base)
                if known and known[1] not in seen:
                    seen.add(known[1])
                    ahead.append(known)
        return found

    def _find(self, path: Path, base: ast.expr) -> tuple[Path, ast.ClassDef] | None:
        """The class that an expression names, and the file it is in."""
        match base:
            case ast.Subscript(value=generic):
                return self._find(path, generic)
            case ast.Name(id=name):
                return self._find_name(path, name, set())
            case ast.Attribute(value=ast.Name(id=alias), attr=name):
                module, member = self._imports(path).get(alias, ("", ""))
                file = self._file(f"{module}.{member}".strip("."))
                return self._find_name(file, name, set()) if file else None
        return None

    def _find_name(
        self, path: Path, name: str, passed: set[Path]
    ) -> tuple[Path, ast.ClassDef] | None:
        """The class called `name` in a file, or where the file imports it from."""
        for node in self.classes(path):
            if node.name == name:
                return path, node
        module, member = self._imports(path).get(name, ("", ""))
        file = self._file(module)
        if file is None or not member or file in passed:
            return None
        return self._find_name(file, member, {*passed, path})

    def _imports(self, path: Path) -> dict[str, _Place]:
        return dict(_imported(self._tree(path), self._package(path)))

    def _package(self, path: Path) -> list[str]:
        """The parts of the package that a file is in."""
        return list(path.relative_to(self._root).parent.parts)

    def _file(self, module: str) -> Path | None:
        if not module:
            return None
        stem = self._root.joinpath(*module.split("."))
        candidates = (stem.with_name(f"{stem.name}.py"), stem / "__init__.py")
        return next((path for path in candidates if path.is_file()), None)


def _defined(owner: ast.ClassDef) -> Iterator[str]:
    for node in owner.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if "abstractmethod" not in map(last_name, node.decorator_list):
                    yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))


def _imported(tree: ast.Module, package: list[str]) -> Iterator[tuple[str, _Place]]:
    """By the name in the module, where it comes from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, (alias.name, "")
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield alias.asname or alias.name, (module, alias.name)
