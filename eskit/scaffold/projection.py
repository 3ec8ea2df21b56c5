"""A module, a first migration and a test for a new projection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eskit.codegen.python.imports import Import
from eskit.codegen.reading.model import Event, Schema
from eskit.codegen.reading.protos import read_protos
from eskit.errors import InvalidArgument, NotFound, ProjectError
from eskit.project.layout import Project
from eskit.resources import templates_dir
from eskit.scaffold.database import Database, database_of, template_data
from eskit.scaffold.imports import MessageModules, sections
from eskit.scaffold.names import module_of_projection
from eskit.scaffold.plan import Plan, PlannedFile
from eskit.scaffold.render import render
from eskit.text.suggestions import find_nearest

_MODULE_USES = (Import("eskit", "EventContext"), Import("eskit", "Projection"))
_DATABASE_USES: Mapping[Database, Sequence[Import]] = {
    "sqlite": (),
    "postgres": (Import("eskit", "PostgresDatabase"),),
}
_TEST_USES = (Import("eskit.testing", "projecting"),)
_SHARED = {"__init__.py", "conftest.py"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """One event that the projection handles, as the templates see it."""

    message: str
    function: str


def new_projection(project: Project, name: str, *, events: Sequence[str]) -> Plan:
    """Plan a projection called `name` that handles `events`.

    An event is named in full (``account.v1.AccountOpenedEvent``) or by its last part, with or
    without ``Event``. Raises InvalidArgument for a name or event that cannot be, NotFound for
    an event that the protos lack, TARGET_EXISTS when the module is there, and SchemaInvalid for
    protos that cannot work.
    """
    module = module_of_projection(name)
    protos = read_protos(project)
    found = list(dict.fromkeys(_find_event(protos.schema, event) for event in events))
    if not found:
        raise InvalidArgument(
            f"Projection {name!r} would handle no event",
            hint="Name at least one: --on AccountOpenedEvent",
        )
    folder = project.package_path.relative_to(project.root).as_posix()
    path = project.root / folder / "projections" / f"{module}.py"
    if path.exists():
        raise ProjectError(
            f"{path} exists already", code="TARGET_EXISTS", hint="Choose another name."
        )
    database = database_of(project.read_models)
    data = {"name": name, "module": module, "folder": folder, **template_data(database)}
    code = _code(project, protos.schema, module, found, database)
    files = render(templates_dir() / "projection", {**data, **code})
    if database == "postgres":
        files += render(templates_dir() / "postgres", data)
    return Plan(
        root=project.root,
        files=tuple(file for file in files if not _is_shared(project, file)),
        next_steps=(*_next_steps(project, module), "eskit project run --once"),
    )


def _code(
    project: Project, schema: Schema, module: str, events: Sequence[Event], database: Database
) -> dict[str, object]:
    """What the templates need to know of the events and their modules."""
    messages = [event.message for event in events]
    modules = MessageModules(schema, project.gen_package, messages)
    imports = modules.imports(messages)
    own = Import(f"{project.package}.projections.{module}", module)
    return {
        "events": [
            Handled(message=modules.path(event.message), function=function)
            for event, function in zip(events, _functions(events), strict=True)
        ],
        **sections("", project, [*_MODULE_USES, *_DATABASE_USES[database], *imports]),
        **sections("test_", project, [*_TEST_USES, own, *imports]),
    }


def _is_shared(project: Project, file: PlannedFile) -> bool:
    """Whether another projection has brought the file."""
    return file.path.name in _SHARED and (project.root / file.path).exists()


def _next_steps(project: Project, module: str) -> list[str]:
    app_file = project.app.partition(":")[0].replace(".", "/") + ".py"
    import_line = f"from {project.package}.projections.{module} import {module}"
    return [
        f"Write what your queries need into {module}.py and its migration",
        f"Add to {app_file}:\n    {import_line}\n    projections=[{module}]",
    ]


def _find_event(schema: Schema, text: str) -> Event:
    """The event that `text` names; NotFound suggests the nearest."""
    known = {event.message.full_name: event for a in schema.aggregates for event in a.events}
    matches = [
        event
        for name, event in known.items()
        if text in {name, short := name.rpartition(".")[2], short.removesuffix("Event")}
    ]
    # The old version of an event may have the name of the current one.
    matches = [event for event in matches if not event.deprecated] or matches
    if len(matches) > 1:
        names = ", ".join(event.message.full_name for event in matches)
        raise InvalidArgument(f"{text!r} may be {names}", hint="Use the full name.")
    if not matches:
        shorts = {name.rpartition(".")[2] for name in known}
        near = find_nearest(text, [*known, *sorted(shorts)])
        raise NotFound(
            f"The protos declare no event {text!r}",
            hint=f"Did you mean {near}?" if near else f"Events: {', '.join(sorted(known))}",
        )
    if matches[0].deprecated:
        raise InvalidArgument(
            f"{matches[0].message.full_name} is deprecated: projections see what it is upcast to",
            hint="Name the current event.",
        )
    return matches[0]


def _functions(events: Sequence[Event]) -> list[str]:
    """Handlers are called like the events' methods; the second of one name gets a number."""
    seen: Counter[str] = Counter()
    names = []
    for event in events:
        seen[event.python_name] += 1
        number = seen[event.python_name]
        names.append(event.python_name if number == 1 else f"{event.python_name}_{number}")
    return names
