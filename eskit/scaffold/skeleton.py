"""What the templates of an aggregate need to know of it, with every name in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from eskit.codegen.python import names
from eskit.codegen.python.imports import Import
from eskit.codegen.reading.model import Aggregate, Event, Rpc, Schema
from eskit.scaffold.imports import MessageModules

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
    modules = MessageModules(schema, gen_package, messages)
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


def _fold(event: Event, modules: MessageModules) -> Fold:
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


def _sentence(comment: str, default: str) -> str:
    """The first sentence of a proto comment, as a docstring of one line."""
    first = comment.partition("\n\n")[0].replace("\n", " ").partition(". ")[0].strip()
    if not first or len(first) > _DOC_WIDTH or '"' in first or "\\" in first:
        return default
    return f"{first[0].upper()}{first[1:].removesuffix('.')}."
