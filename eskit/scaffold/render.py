"""Templates to files in memory, through copier; nothing is asked, run or printed."""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from eskit.errors import MissingPackage
from eskit.scaffold.plan import PlannedFile

_COMMENT = re.compile(r"(?:#|//|--)\s*(?P<text>\S.*)")


def render(template: Path, data: Mapping[str, object]) -> list[PlannedFile]:
    """Every file that `template` gives for `data`, by path.

    Each is described by its own first line: a module's docstring, a comment, a sentence.
    """
    try:
        import copier
    except ModuleNotFoundError as error:
        raise MissingPackage("A new project", "copier") from error

    with tempfile.TemporaryDirectory(prefix="eskit-") as scratch:
        folder = Path(scratch) / "rendered"
        copier.run_copy(
            str(template),
            folder,
            data=dict(data),
            defaults=True,
            overwrite=False,
            quiet=True,
            exclude=["__pycache__"],  # pip compiles the modules among the installed templates
            skip_tasks=True,
            unsafe=False,
            settings=copier.Settings(),  # the user's own copier settings are not for eskit
        )
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return [_planned(path, path.relative_to(folder)) for path in paths]


def _planned(path: Path, relative: Path) -> PlannedFile:
    content = path.read_bytes()
    description = _describe(relative.suffix, content.decode("utf-8"))
    return PlannedFile(
        path=PurePosixPath(relative.as_posix()), description=description, content=content
    )


def _describe(suffix: str, text: str) -> str:
    return re.split("[:;.]( |$)", _first_sentence(suffix, text))[0]


def _first_sentence(suffix: str, text: str) -> str:
    if suffix == ".typed":
        return "Type checkers read the package"
    if suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]
    if suffix == ".md":
        lines = (line for line in text.splitlines() if line and not line.startswith("#"))
        return next(lines, "")
    comment = _COMMENT.match(text)
    return comment["text"] if comment else ""
