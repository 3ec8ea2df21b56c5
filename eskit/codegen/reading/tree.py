"""What is generated from a set of protos: every file with its text, nothing written yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from eskit.codegen.output import with_header
from eskit.codegen.python import names
from eskit.codegen.python.imports import Modules
from eskit.codegen.python.pb2 import relocate
from eskit.codegen.python.render import render_sdk, render_services, render_stub
from eskit.codegen.python.stubs import stub_module
from eskit.codegen.reading.analyse import analyse
from eskit.codegen.reading.clashes import module_clashes
from eskit.codegen.reading.locate import Locator, Locators, pinpoint
from eskit.codegen.reading.model import Schema
from eskit.codegen.reading.protoc import Compiled, compile_protos
from eskit.codegen.reading.sources import Sources
from eskit.domain.subjects import RESERVED
from eskit.errors import Diagnostic, SchemaInvalid
from eskit.schema.pools import find_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Every generated file by its path within the output folder, and what protoc warned of.

    `imported` are the protos that were read beside the project's own.
    """

    files: Mapping[str, str]
    imported: tuple[str, ...]
    warnings: tuple[Diagnostic, ...]


def make_tree(sources: Sources, *, app_name: str, nats_prefix: str) -> Tree:
    """Parse, check and render `sources`; SchemaInvalid with every problem they have."""
    if clashes := module_clashes(sources.names):
        raise _invalid(clashes, sources)
    compiled = compile_protos(sources.roots, sources.files)
    if not compiled.files.file:
        raise _invalid(_protoc_findings(compiled, sources), sources)
    locators = Locators(compiled.files.file, sources.read)
    schema, skipped = check_schema(
        compiled.files,
        sources.names,
        sources=sources,
        nats_prefix=nats_prefix,
        locators=locators,
    )
    warnings = [*sources.warnings, *_protoc_findings(compiled, sources), *skipped]
    return Tree(
        files=render_tree(
            compiled.files,
            sources.names,
            compiled.modules,
            schema=schema,
            app_name=app_name,
            locators=locators,
        ),
        imported=tuple(file.name for file in compiled.files.file if file.name not in sources.files),
        warnings=tuple(_displayed(warnings, sources)),
    )


def check_schema(
    files: FileDescriptorSet,
    project: Sequence[str],
    *,
    sources: Sources,
    nats_prefix: str,
    locators: Locators | None = None,
) -> tuple[Schema, list[Diagnostic]]:
    """What the `project` files declare, and warnings; SchemaInvalid when something cannot work."""
    reserved = tuple(dict.fromkeys((nats_prefix, *RESERVED)))
    locators = locators or Locators(files.file, sources.read)
    schema, findings = analyse(
        files,
        project,
        locators=locators,
        reserved_packages=reserved,
        exclusion=sources.exclusion,
    )
    if any(finding.severity == "error" for finding in findings):
        raise _invalid(findings, sources)
    return schema, findings


def render_tree(
    files: FileDescriptorSet,
    project: Sequence[str],
    pb2_modules: Mapping[str, str],
    *,
    schema: Schema,
    app_name: str,
    locators: Locators,
) -> dict[str, str]:
    """Every generated file: its text by its path within the output folder."""
    modules = Modules(project)
    pool = DescriptorPool()
    tree: dict[str, str] = {}
    declared = {file.name: file for file in schema.files}
    for file in files.file:
        pool.Add(file)
        if not modules.is_generated(file.name):
            continue
        path = "/".join(names.module_parts(file.name))
        pb2, locator = pb2_modules[file.name], locators[file.name]
        tree |= render_messages(file, pool, pb2, modules, locator, path=path)
        if declared[file.name].has_code:
            tree[f"{path}_es.py"] = with_header(
                render_services(declared[file.name], schema, modules), source=file.name
            )
    if any(file.services for file in schema.files):
        tree["sdk.py"] = with_header(render_sdk(schema, modules, app_name=app_name), source="")
    for folder in _packages(tree):
        tree[f"{folder}__init__.py"] = with_header("", source="")
    return dict(sorted(tree.items()))


def render_messages(
    file: FileDescriptorProto,
    pool: DescriptorPool,
    pb2: str,
    modules: Modules,
    locator: Locator,
    *,
    path: str,
) -> dict[str, str]:
    """The pb2 module of a file and its stub, as ``<path>_pb2.py`` and ``.pyi``."""
    stub = stub_module(find_file(pool, file.name), modules, locator)
    code = relocate(file, pb2, _module_of(file, modules))
    return {
        f"{path}_pb2.py": with_header(
            f"# fmt: off\n# ruff: noqa\n{code}", source=file.name, typed=False
        ),
        f"{path}_pb2.pyi": with_header(render_stub(stub), source=file.name),
    }


def _module_of(
    file: FileDescriptorProto, modules: Modules
) -> Callable[[str], tuple[str, str] | None]:
    def module_of(dependency: str) -> tuple[str, str] | None:
        if dependency.startswith("google/protobuf/"):
            return None
        return modules.locate(dependency, seen_from=file.name)

    return module_of


def _packages(paths: Iterable[str]) -> list[str]:
    """Every folder that holds something, as a prefix; the output folder itself is empty text."""
    folders = {""}
    for path in paths:
        parts = path.split("/")[:-1]
        folders |= {"/".join(parts[: i + 1]) + "/" for i in range(len(parts))}
    return sorted(folders)


def _protoc_findings(compiled: Compiled, sources: Sources) -> list[Diagnostic]:
    """What protoc found, each at the word it is about."""
    errors = [message for message in compiled.messages if message.severity == "error"]
    # That an imported file is missing is said again, with its place, by the file that imports it.
    placed = [error for error in errors if error.line] or errors
    # Nor is it news that a file with errors cannot be imported.
    faulty = {f'Import "{error.file}" was not found or had errors.' for error in placed}
    placed = [error for error in placed if error.message not in faulty]
    warnings = [message for message in compiled.messages if message.severity != "error"]
    return [pinpoint(found, sources.read(found.file)) for found in (*placed, *warnings)]


def _displayed(findings: Sequence[Diagnostic], sources: Sources) -> list[Diagnostic]:
    return [finding._replace(file=sources.display(finding.file)) for finding in findings]


def _invalid(findings: Sequence[Diagnostic], sources: Sources) -> SchemaInvalid:
    count = sum(finding.severity == "error" for finding in findings)
    return SchemaInvalid(
        f"{count} problem{'s' if count != 1 else ''} in the protos; nothing was written",
        diagnostics=_displayed(findings, sources),
        hint="Correct the protos and try again.",
    )
