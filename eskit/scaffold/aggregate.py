"""A module for the rules of each aggregate of a proto file, and a test beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from eskit.codegen.python.imports import Import
from eskit.codegen.reading.model import Aggregate
from eskit.codegen.reading.protos import Protos, read_protos
from eskit.errors import InvalidArgument, NotFound
from eskit.project.layout import Project
from eskit.resources import templates_dir
from eskit.scaffold.imports import sections
from eskit.scaffold.missing import MissingMethods, cut_methods, missing_in
from eskit.scaffold.plan import Plan, PlannedFile
from eskit.scaffold.render import render
from eskit.scaffold.skeleton import Skeleton, class_name, module_name, skeleton_of

_ESKIT = Import("eskit.errors", "CommandRejected")
_GIVEN = Import("eskit.testing", "given")


def new_aggregate(project: Project, proto: Path) -> Plan:
    """Plan what the aggregates of `proto` still need; files that are there stay as they are.

    Methods that a module which is there lacks are in the plan as text to paste.

    `proto` is a file below the project's proto folders. Raises NotFound for a file
    that is not there, InvalidArgument for one that is elsewhere or declares no aggregate,
    SchemaInvalid for protos that cannot work, and ProjectError for a project without an app.
    """
    package_path = project.package_path
    name = _name_below(project.proto_paths, proto)
    protos = read_protos(project)
    aggregates = [a for a in protos.schema.aggregates if a.state.file == name]
    if not aggregates:
        raise InvalidArgument(
            f"{name} declares no aggregate",
            hint="Mark its state message: "
            'option (eventsourcing.aggregate_root) = {id_field: "account_id"};',
        )
    new = [a for a in aggregates if not (package_path / _module_file(a)).exists()]
    files = [file for a in new for file in _files(project, _skeleton(project, protos, a))]
    missing = [
        found
        for aggregate in aggregates
        if aggregate not in new and (found := _missing(project, protos, aggregate))
    ]
    return Plan(
        root=project.root,
        files=tuple(file for file in files if not (project.root / file.path).exists()),
        next_steps=("eskit gen",) if missing and not new else tuple(_next_steps(project, new)),
        missing=tuple(missing),
    )


def _name_below(roots: Sequence[Path], proto: Path) -> str:
    """The proto as others import it."""
    path = proto.resolve()
    if not path.exists():
        raise NotFound(f"There is no file {proto}", hint="Write the proto first.")
    for root in roots:
        if path.is_relative_to(root.resolve()) and path.suffix == ".proto":
            return path.relative_to(root.resolve()).as_posix()
    folders = ", ".join(str(root) for root in roots)
    raise InvalidArgument(
        f"{proto} is not a proto file of this project",
        hint=f"Proto files end in .proto and are below {folders}.",
    )


def _skeleton(project: Project, protos: Protos, aggregate: Aggregate) -> Skeleton:
    return skeleton_of(
        aggregate,
        protos.schema,
        gen_package=project.gen_package,
        id_requests=protos.messages_with(aggregate.id_field),
    )


def _missing(project: Project, protos: Protos, aggregate: Aggregate) -> MissingMethods | None:
    """The methods that the aggregate's module lacks; None when it has them all."""
    path = project.package_path / _module_file(aggregate)
    lacking = missing_in(
        path, _skeleton(project, protos, aggregate), root=project.package_path.parent
    )
    if not (lacking.rules or lacking.folds):
        return None
    module = path.relative_to(project.root).as_posix()
    [rendered] = [f for f in _files(project, lacking) if str(f.path) == module]
    return cut_methods(path, lacking, rendered.content.decode("utf-8"))


def _files(project: Project, skeleton: Skeleton) -> list[PlannedFile]:
    domain = Import(f"{project.package}.domain.{skeleton.module}", skeleton.name)
    data: dict[str, object] = {
        "aggregate": skeleton,
        "folder": project.package_path.relative_to(project.root).as_posix(),
        "module": skeleton.module,
        **sections("", project, [_ESKIT, *skeleton.module_imports]),
        **sections("test_", project, [_GIVEN, domain, *skeleton.test_imports]),
    }
    return render(templates_dir() / "aggregate", data)


def _next_steps(project: Project, aggregates: Sequence[Aggregate]) -> Iterator[str]:
    if not aggregates:
        return
    yield "eskit gen"
    app_file = project.app.partition(":")[0].replace(".", "/") + ".py"
    classes = ", ".join(class_name(aggregate) for aggregate in aggregates)
    lines = [
        f"from {project.package}.domain.{module_name(aggregate)} import {class_name(aggregate)}"
        for aggregate in aggregates
    ]
    yield "\n".join(
        [f"Add to {app_file}:", *(f"    {line}" for line in lines), f"    aggregates=[{classes}]"]
    )
    for aggregate in aggregates:
        for event in aggregate.events:
            if event.deprecated:
                yield f"Write an upcaster for {event.message.full_name}, which is deprecated"
        for service in aggregate.services:
            if service.kind == "query":
                yield (
                    f"Answer {service.name}: derive a class from {service.handler}, "
                    "and add it to App(queries=[…])"
                )


def _module_file(aggregate: Aggregate) -> str:
    return f"domain/{module_name(aggregate)}.py"
