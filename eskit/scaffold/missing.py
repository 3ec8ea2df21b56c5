"""What a module of rules still lacks after its proto has grown."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from pathlib import Path

from eskit.errors import ProjectInvalid
from eskit.scaffold.skeleton import Skeleton


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingMethods:
    """Methods to paste into a file that is never edited for the user.

    `imports` are the import lines that the file does not have, `code` the methods, indented.
    """

    path: Path
    methods: tuple[str, ...]
    imports: tuple[str, ...]
    code: str


def missing_in(path: Path, skeleton: Skeleton) -> Skeleton:
    """`skeleton` with only those methods that the class in `path` does not define.

    A file without the class lacks nothing: the rules are somewhere else then. Raises
    ProjectInvalid when the file is not Python.
    """
    owners = _classes(_parse(path, path.read_text(encoding="utf-8")), skeleton)
    if not owners:
        return replace(skeleton, rules=(), folds=())
    written = {
        node.name
        for owner in owners
        for node in owner.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return replace(
        skeleton,
        rules=tuple(rule for rule in skeleton.rules if rule.python_name not in written),
        folds=tuple(fold for fold in skeleton.folds if fold.python_name not in written),
    )


def cut_methods(path: Path, skeleton: Skeleton, rendered: str) -> MissingMethods:
    """The methods and new imports of a module that was rendered for `skeleton` alone."""
    there = set(path.read_text(encoding="utf-8").splitlines())
    tree = _parse(path, rendered)
    [owner] = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    lines = rendered.splitlines()
    first = owner.body[1].lineno - 1  # after the docstring
    return MissingMethods(
        path=path,
        methods=(
            *(rule.python_name for rule in skeleton.rules),
            *(fold.python_name for fold in skeleton.folds),
        ),
        imports=tuple(
            line
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for line in ["\n".join(lines[node.lineno - 1 : node.end_lineno])]
            if line not in there and not line.startswith("from eskit import")
        ),
        code="\n".join(lines[first:]).rstrip("\n"),
    )


def _parse(path: Path, source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise ProjectInvalid(
            f"{path}:{error.lineno} is not Python: {error.msg}", hint="Correct it first."
        ) from error


def _classes(tree: ast.Module, skeleton: Skeleton) -> list[ast.ClassDef]:
    """The class of the aggregate: by its name, or by the generated base it derives from."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and (node.name == skeleton.name or any(_last(b) == skeleton.base for b in node.bases))
    ]


def _last(base: ast.expr) -> str:
    if isinstance(base, ast.Attribute):
        return base.attr
    return base.id if isinstance(base, ast.Name) else ""
