"""What a module of rules still lacks after its proto has grown."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from pathlib import Path

from eskit.scaffold.classes import Sources, last_name, parse
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


def missing_in(path: Path, skeleton: Skeleton, *, root: Path) -> Skeleton:
    """`skeleton` with only those methods that the class in `path` neither has nor inherits.

    `root` is the folder that holds the package. A file without the class lacks nothing: the rules
    are somewhere else then. Raises ProjectError when the file is not Python.
    """
    sources = Sources(root)
    owners = [owner for owner in sources.classes(path) if _is_of(owner, skeleton)]
    if not owners:
        return replace(skeleton, rules=(), folds=())
    written = set[str]().union(
        *(sources.methods(path, owner, beside=skeleton.base) for owner in owners)
    )
    return replace(
        skeleton,
        rules=tuple(rule for rule in skeleton.rules if rule.python_name not in written),
        folds=tuple(fold for fold in skeleton.folds if fold.python_name not in written),
    )


def cut_methods(path: Path, skeleton: Skeleton, rendered: str) -> MissingMethods:
    """The methods and new imports of a module that was rendered for `skeleton` alone."""
    there = set(path.read_text(encoding="utf-8").splitlines())
    tree = parse(path, rendered)
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
            if line not in there and not line.startswith("from eskit")
        ),
        code="\n".join(lines[first:]).rstrip("\n"),
    )


def _is_of(owner: ast.ClassDef, skeleton: Skeleton) -> bool:
    """Whether it is the aggregate's class: by name, or by the generated base it derives from."""
    return owner.name == skeleton.name or skeleton.base in map(last_name, owner.bases)
