"""What scaffolded modules import, in the order and form that formatters give it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from eskit.codegen.python.imports import Import, Modules, aliased, grouped
from eskit.codegen.reading.model import MessageRef, Schema
from eskit.project.layout import Project


class MessageModules:
    """What a scaffolded module and its test call the pb2 modules of some messages."""

    def __init__(self, schema: Schema, gen_package: str, messages: Iterable[MessageRef]) -> None:
        self._gen_package = gen_package
        self._modules = Modules(file.name for file in schema.files)
        found = aliased((ref.file for ref in messages), self._modules, seen_from="")
        generated = [proto for proto in found if self._modules.is_generated(proto)]
        if len(generated) == 1:
            found[generated[0]] = replace(found[generated[0]], alias="pb")
        self._found: Mapping[str, Import] = found

    def path(self, message: MessageRef) -> str:
        """The message's class as the module writes it."""
        return f"{self._found[message.file].name}.{message.path}"

    def imports(
        self, messages: Iterable[MessageRef], *, services_of: str = ""
    ) -> tuple[Import, ...]:
        """Sorted as formatters sort them; `services_of` adds the ``*_es.py`` of a proto."""
        found = {self._absolute(self._found[message.file]) for message in messages}
        if services_of:
            location = self._modules.locate(services_of, seen_from="", suffix="_es")
            found.add(self._absolute(Import(*location, "es")))
        return tuple(sorted(found))

    def _absolute(self, found: Import) -> Import:
        if not found.package.startswith("."):
            return found
        package = f"{self._gen_package}{found.package}".removesuffix(".")
        return replace(found, package=package)


def sections(prefix: str, project: Project, imports: Sequence[Import]) -> dict[str, object]:
    """The import lines of a module in the two sections that formatters make."""
    lines = grouped(imports)
    own = [line for line in lines if f"{line[0]}.".startswith(f"{project.package}.")]
    return {
        f"{prefix}own": own,
        f"{prefix}third_party": [line for line in lines if line not in own],
    }
