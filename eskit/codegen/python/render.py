"""Turn a schema into the text of generated modules, through the templates."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from eskit.codegen.python import names
from eskit.codegen.python.imports import Grouped, Import, Modules, aliased, grouped, in_order
from eskit.codegen.python.sdk import sdk_groups
from eskit.codegen.python.stub_parts import StubModule
from eskit.codegen.reading import layout
from eskit.codegen.reading.model import MessageRef, Rpc, Schema, SourceFile
from eskit.errors import MissingPackage
from eskit.resources import templates_dir

try:
    from jinja2 import (
        Environment,
        FileSystemBytecodeCache,
        FileSystemLoader,
        StrictUndefined,
        Template,
    )
except ModuleNotFoundError as error:
    raise MissingPackage("Code generation", "jinja2") from error


def render_services(file: SourceFile, schema: Schema, modules: Modules) -> str:
    """The ``*_es.py`` of a proto file."""
    refs = [
        *(a.state for a in file.aggregates),
        *(e.message for a in file.aggregates for e in a.events),
        *(r for a in file.aggregates for s in a.commands for rpc in s.rpcs for r in _refs(rpc)),
        *file.events,
        *(r for s in file.services for rpc in s.rpcs for r in _refs(rpc)),
    ]
    imports = aliased({ref.file for ref in refs}, modules, seen_from=file.name)

    def path(ref: MessageRef) -> str:
        return f"{imports[ref.file].name}.{ref.path}"

    imported = _imported_services(file, modules)
    services = grouped(imported.values())
    early, late = ([], services) if _is_in_cycle(file, schema) else (services, [])
    text: str = _template("es.py.jinja").render(
        file=file,
        names_private=any("._" in f".{ref.path}" for ref in refs),
        class_of=path,
        class_name=names.class_name,
        imports=[group for group in _import_groups(file, imports.values(), early) if group],
        late_imports=late,
        commands={
            aggregate.name: [
                f"*{found.name if (found := imported.get(s.full_name)) else s.constant}.methods"
                for s in aggregate.commands
            ]
            for aggregate in file.aggregates
        },
        event_classes=[path(ref) for ref in file.events],
        contexts=sorted(f"{s.kind.title()}Context" for s in file.services),
        emitted={
            a.name: [path(event.message) for event in a.current_events] for a in file.aggregates
        },
    )
    return layout.settled(text)


def _import_groups(file: SourceFile, pb2: Iterable[Import], services: Grouped) -> list[Grouped]:
    """What a module needs, sorted: the standard library, libraries, modules beside it."""
    kinds = {service.kind for service in file.services}
    events = [event for aggregate in file.aggregates for event in aggregate.events]
    current = [event for event in events if not event.deprecated]
    has_methods = current or any(aggregate.commands for aggregate in file.aggregates)
    standard = {
        "abc": ["abstractmethod"] if has_methods or kinds else [],
        "typing": [
            *(["TYPE_CHECKING"] if kinds else []),
            *(["ClassVar"] if file.aggregates or "query" in kinds else []),
            *(["Never"] if any(not a.current_events for a in file.aggregates) else []),
            *(["Protocol"] if kinds else []),
            *(["TypeAlias"] if current else []),
        ],
    }
    libraries: dict[str, list[str]] = {
        "eskit.generated": [
            *(["Aggregate", "AggregateType"] if file.aggregates else []),
            *(["Client"] if kinds else []),
            *(["EventMethod"] if events else []),
            *(["Method"] if kinds else []),
            *(["QueryHandler"] if "query" in kinds else []),
            *(["ServiceBinding", "ServiceType"] if kinds else []),
            *(["UpcastingInvalid"] if any(e.deprecated for e in events) else []),
            *(["bind"] if kinds else []),
        ],
        "google.protobuf.message": ["Message"] if file.events else [],
    }
    beside: Grouped = [*services]
    others: Grouped = []
    for package, found in grouped(pb2):
        if package.startswith("."):
            beside.append((package, found))
        else:
            others.append((package, found))
    return [
        in_order((module, found) for module, found in group if found)
        for group in (standard.items(), [*libraries.items(), *others], beside)
    ]


def _imported_services(file: SourceFile, modules: Modules) -> dict[str, Import]:
    """By full name, the services of its aggregates that a module imports from other ones."""
    found: dict[str, Import] = {}
    taken = {service.constant for service in file.services}
    for service in (s for a in file.aggregates for s in a.commands if s.file != file.name):
        package, module = modules.locate(service.file, seen_from=file.name, suffix="_es")
        dot = "" if package.endswith(".") else "."
        name = service.constant
        if name in taken:
            name = names.qualified(service.package, name).upper()
        while name in taken:
            name += "_"
        taken.add(name)
        alias = name if name != service.constant else ""
        found[service.full_name] = Import(f"{package}{dot}{module}", service.constant, alias)
    return found


def _needs(file: SourceFile) -> set[str]:
    """The other files whose services are commands of aggregates of `file`."""
    files = {service.file for a in file.aggregates for service in a.commands}
    return files - {file.name}


def _is_in_cycle(file: SourceFile, schema: Schema) -> bool:
    """Whether the module of `file` imports one that imports it."""
    by_name = {other.name: other for other in schema.files}
    reached: set[str] = set()
    ahead = _needs(file)
    while ahead:
        name = ahead.pop()
        if name == file.name:
            return True
        reached.add(name)
        ahead |= _needs(by_name[name]) - reached
    return False


def render_sdk(schema: Schema, modules: Modules, *, app_name: str) -> str:
    """``sdk.py``: one class over all services of the project."""
    groups = [group for group in sdk_groups(schema) if group.services]
    files = {service.file for group in groups for service in group.services}
    imports = aliased(files, modules, seen_from="", suffix="_es")
    text: str = _template("sdk.py.jinja").render(
        name=f"{names.camel_case(app_name)}Sdk",
        app_name=app_name,
        groups=groups,
        modules=grouped(imports.values()),
        clients={
            group.attribute: [f"{imports[s.file].name}.{s.client}" for s in group.services]
            for group in groups
        },
    )
    return layout.settled(text)


def render_stub(module: StubModule) -> str:
    """The ``.pyi`` of a pb2 module."""
    text: str = _template("pb2.pyi.jinja").render(module=module)
    return text.rstrip("\n") + "\n"


def _refs(rpc: Rpc) -> tuple[MessageRef, MessageRef]:
    return rpc.request, rpc.response


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(templates_dir() / "codegen"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        bytecode_cache=_bytecode_cache(),
        autoescape=False,  # noqa: S701  Python code, not HTML
    )
    environment.filters["docstring"] = layout.docstring
    for function in (
        layout.assigned,
        layout.imported,
        layout.listed,
        layout.literal,
        layout.tuple_of,
        layout.union,
    ):
        environment.globals[function.__name__] = function
    return environment


def _bytecode_cache() -> FileSystemBytecodeCache | None:
    """Compiled templates in the user's own folder below the temporary one: 50 ms on every run."""
    try:
        return FileSystemBytecodeCache()
    except (OSError, RuntimeError):  # no temporary folder that is safe to use
        return None


@cache
def _template(name: str) -> Template:
    return _environment().get_template(name)
