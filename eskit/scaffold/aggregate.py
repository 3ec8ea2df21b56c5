"""A module for the rules of each aggregate of a proto file, and a test beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from eskit.codegen.imports import Import
from eskit.codegen.model import Aggregate
from eskit.errors import InvalidArgument, ProjectInvalid
from eskit.project import Project
from eskit.resources import templates_dir
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
    if not project.package:
        raise ProjectInvalid(
            f"{project.file} names no app, so there is no package to write the rules in",
            hint='Set app = "package.app:app" first.',
        )
    name = _name_below(project.proto_paths, proto)
    protos = read_protos(project.proto_paths, nats_prefix=project.nats_prefix)
    aggregates = [a for a in protos.schema.aggregates if a.state.file == name]
    if not aggregates:
        raise InvalidArgument(
            f"{name} declares no aggregate",
            hint="Mark its state message: "
            'option (eventsourcing.aggregate_root) = {id_field: "account_id"};',
        )
    missing = [a for a in aggregates if not _module_path(project, a).exists()]
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
        gen_package=_gen_package(project),
        id_requests=protos.messages_with(aggregate.id_field),
    )
    domain = Import(f"{project.package}.domain.{skeleton.module}", skeleton.name)
    data: dict[str, object] = {
        "aggregate": skeleton,
        "folder": _folder(project).relative_to(project.root).as_posix(),
        "module": skeleton.module,
        **_sections("", project, [_ESKIT, *skeleton.module_imports]),
        **_sections("test_", project, [_GIVEN, domain, *skeleton.test_imports]),
    }
    return render(templates_dir() / "aggregate", data)


def _sections(prefix: str, project: Project, imports: Sequence[Import]) -> dict[str, object]:
    """The import lines of a module in the two sections that formatters make."""
    lines = _import_lines(imports)
    own = [line for line in lines if f"{line[0]}.".startswith(f"{project.package}.")]
    return {
        f"{prefix}own": own,
        f"{prefix}third_party": [line for line in lines if line not in own],
    }


def _import_lines(imports: Sequence[Import]) -> list[tuple[str, list[str]]]:
    """Packages and what is imported from each: together, but for what gets another name."""
    together: dict[str, list[str]] = {}
    lines = []
    for found in sorted(imports):
        if found.alias:
            lines.append((found.package, [f"{found.module} as {found.alias}"]))
        elif found.package in together:
            together[found.package].append(found.module)
        else:
            together[found.package] = [found.module]
            lines.append((found.package, together[found.package]))
    return lines


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


def _gen_package(project: Project) -> str:
    base = project.import_paths()[0]
    if not project.gen_path.is_relative_to(base):
        raise ProjectInvalid(
            f"{project.file}: gen is {project.gen_path}, which nothing can import",
            hint=f"Choose a folder below {base}.",
        )
    return ".".join(project.gen_path.relative_to(base).parts)


def _folder(project: Project) -> Path:
    return project.import_paths()[0] / project.package


def _module_path(project: Project, aggregate: Aggregate) -> Path:
    return _folder(project) / "domain" / f"{module_name(aggregate)}.py"
