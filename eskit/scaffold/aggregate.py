"""A module for the rules of each aggregate of a proto file, and a test beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from eskit.codegen.imports import Import
from eskit.codegen.model import Aggregate
from eskit.errors import InvalidArgument
from eskit.project import Project
from eskit.resources import templates_dir
from eskit.scaffold.imports import sections
from eskit.scaffold.plan import Plan, PlannedFile
from eskit.scaffold.protos import Protos, read_protos
from eskit.scaffold.render import render
from eskit.scaffold.skeleton import class_name, module_name, skeleton_of

_ESKIT = Import("eskit", "CommandRejected")
_GIVEN = Import("eskit.testing", "given")


def new_aggregate(project: Project, proto: Path) -> Plan:
    """Plan what the aggregates of `proto` still need; files that are there stay as they are.

    `proto` is a file below the project's proto folders. Raises InvalidArgument for one that is
    not, or that declares no aggregate; SchemaInvalid for protos that cannot work; ProjectInvalid
    for a project without an app.
    """
    package_path = project.package_path
    name = _name_below(project.proto_paths, proto)
    protos = read_protos(project.proto_paths, nats_prefix=project.nats_prefix)
    aggregates = [a for a in protos.schema.aggregates if a.state.file == name]
    if not aggregates:
        raise InvalidArgument(
            f"{name} declares no aggregate",
            hint="Mark its state message: "
            'option (eventsourcing.aggregate_root) = {id_field: "account_id"};',
        )
    missing = [a for a in aggregates if not (package_path / _module_file(a)).exists()]
    files = [file for aggregate in missing for file in _files(project, protos, aggregate)]
    return Plan(
        root=project.root,
        files=tuple(file for file in files if not (project.root / file.path).exists()),
        next_steps=tuple(_next_steps(project, missing)),
    )


def _name_below(roots: Sequence[Path], proto: Path) -> str:
    """The proto as others import it."""
    path = proto.resolve()
    for root in roots:
        if path.is_relative_to(root.resolve()) and path.suffix == ".proto":
            if not path.is_file():
                raise InvalidArgument(f"There is no file {proto}", hint="Write the proto first.")
            return path.relative_to(root.resolve()).as_posix()
    folders = ", ".join(str(root) for root in roots)
    raise InvalidArgument(
        f"{proto} is not a proto file of this project",
        hint=f"Proto files end in .proto and are below {folders}.",
    )


def _files(project: Project, protos: Protos, aggregate: Aggregate) -> list[PlannedFile]:
    skeleton = skeleton_of(
        aggregate,
        protos.schema,
        gen_package=project.gen_package,
        id_requests=protos.messages_with(aggregate.id_field),
    )
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
                yield f"Answer {service.name}: derive a class from {service.handler}"


def _module_file(aggregate: Aggregate) -> str:
    return f"domain/{module_name(aggregate)}.py"
