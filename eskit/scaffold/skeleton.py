"""What the templates of an aggregate need to know of it, with every name in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from eskit.codegen import names
from eskit.codegen.imports import Import, Modules, aliased
from eskit.codegen.model import Aggregate, Event, MessageRef, Rpc, Schema

_DOC_WIDTH = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One command method: `arguments` is how a test makes the command."""

    rpc: str
    python_name: str
    request: str
    response: str
    arguments: str
    ambiguous: bool
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One event method."""

    python_name: str
    message: str
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """One aggregate: its class, its methods, and what its module and its test import."""

    name: str
    base: str
    module: str
    doc: str
    rules: tuple[Rule, ...]
    folds: tuple[Fold, ...]
    module_imports: tuple[Import, ...]
    test_imports: tuple[Import, ...]


def module_name(aggregate: Aggregate) -> str:
    """The module that holds the rules: ``BankAccount`` gives ``bank_account``."""
    return names.attribute(names.snake_case(aggregate.name))


def class_name(aggregate: Aggregate) -> str:
    """The class that holds the rules."""
    return names.class_name(aggregate.name)


def skeleton_of(
    aggregate: Aggregate,
    schema: Schema,
    *,
    gen_package: str,
    id_requests: AbstractSet[str],
) -> Skeleton:
    """Describe `aggregate` for the templates.

    `id_requests` are the full names of the messages that have the aggregate's id field.
    """
    rpcs = [rpc for service in aggregate.commands for rpc in service.rpcs]
    events = [event for event in aggregate.events if not event.deprecated]
    requests = [rpc.request for rpc in rpcs]
    messages = [*requests, *(rpc.response for rpc in rpcs), *(event.message for event in events)]
    modules = _Modules(schema, gen_package, messages)
    uses = Counter(request.full_name for request in requests)
    return Skeleton(
        name=class_name(aggregate),
        base=names.class_name(f"{aggregate.name}Aggregate"),
        module=module_name(aggregate),
        doc=_sentence(aggregate.doc, f"The rules of one {aggregate.name}."),
        rules=tuple(
            Rule(
                rpc=rpc.name,
                python_name=rpc.python_name,
                request=modules.path(rpc.request),
                response=modules.path(rpc.response),
                arguments=_arguments(aggregate, rpc, id_requests),
                ambiguous=uses[rpc.request.full_name] > 1,
                doc=_sentence(rpc.doc, f"Decide {rpc.name}."),
            )
            for rpc in rpcs
        ),
        folds=tuple(_fold(event, modules) for event in events),
        module_imports=modules.imports(messages, services_of=aggregate.state.file),
        test_imports=modules.imports(requests),
    )


def _fold(event: Event, modules: _Modules) -> Fold:
    name = event.message.path.rpartition(".")[2]
    return Fold(
        python_name=event.python_name,
        message=modules.path(event.message),
        doc=_sentence(event.doc, f"Change the state after {name}."),
    )


def _arguments(aggregate: Aggregate, rpc: Rpc, id_requests: AbstractSet[str]) -> str:
    """A command without the id creates, and is given an id by eskit."""
    if rpc.request.full_name not in id_requests:
        return ""
    return f'{aggregate.id_field}="{aggregate.name.lower()}-1"'


class _Modules:
    """What the pb2 modules are called in the module and in its test."""

    def __init__(self, schema: Schema, gen_package: str, messages: Iterable[MessageRef]) -> None:
        self._gen_package = gen_package
        self._modules = Modules(file.name for file in schema.files)
        found = aliased((ref.file for ref in messages), self._modules, seen_from="")
        generated = [proto for proto in found if self._modules.is_generated(proto)]
        if len(generated) == 1:
            found[generated[0]] = replace(found[generated[0]], alias="pb")
        self._found: Mapping[str, Import] = found

    def path(self, message: MessageRef) -> str:
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


def _sentence(comment: str, default: str) -> str:
    """The first sentence of a proto comment, as a docstring of one line."""
    first = comment.partition("\n\n")[0].replace("\n", " ").partition(". ")[0].strip()
    if not first or len(first) > _DOC_WIDTH or '"' in first or "\\" in first:
        return default
    return f"{first[0].upper()}{first[1:].removesuffix('.')}."
