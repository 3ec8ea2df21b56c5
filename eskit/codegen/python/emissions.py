"""Which events a method can emit and which commands a reaction can send, read from their source.

Nothing is run.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any

from google.protobuf.message import Message

from eskit.cqrs.reactions import Reaction
from eskit.domain.aggregate import AnyAggregate
from eskit.domain.messages import message_type
from eskit.domain.services import Method


def emitted_events(aggregate_class: type[AnyAggregate], method: str) -> tuple[str, ...]:
    """The events of the aggregate that a method names, itself or in methods it calls.

    In the order of the proto. What is built in functions of other modules is not seen; a method
    without source gives nothing.
    """
    events = [message_type(event.event) for event in aggregate_class.__aggregate__.events]
    appliers = {event.python_name for event in aggregate_class.__aggregate__.events}
    named: set[str] = set()
    waiting, seen = [method], set(appliers)
    while waiting:
        name = waiting.pop()
        function = inspect.unwrap(getattr(aggregate_class, name, _nothing))
        if name in seen or not isinstance(function, FunctionType):
            continue
        seen.add(name)
        for chain in _names_in(function):
            if chain[0] == "self" and len(chain) > 1:
                waiting.append(chain[1])
            elif (found := _message_named(chain, function)) is not None:
                named.add(found)
    return tuple(event for event in events if event in named)


def sent_commands(reaction: Reaction, methods: Iterable[Method]) -> tuple[str, ...]:
    """The commands, as paths in the order of `methods`, whose requests the handlers name."""
    named = {
        found
        for handler in reaction.handlers.values()
        if isinstance(function := inspect.unwrap(handler), FunctionType)
        for chain in _names_in(function)
        if (found := _message_named(chain, function)) is not None
    }
    return tuple(
        method.path
        for method in methods
        if method.kind == "command" and message_type(method.request) in named
    )


def _nothing() -> None:
    """Stands for a method that is not there."""


def _names_in(function: Callable[..., Any]) -> Iterator[list[str]]:
    """Every dotted name in the function's source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    for node in ast.walk(tree):
        if chain := _dotted(node):
            yield chain


def _dotted(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (head := _dotted(node.value)):
        return [*head, node.attr]
    return []


def _message_named(chain: list[str], function: FunctionType) -> str | None:
    """The message class that a dotted name leads to, seen from the function's module."""
    found: object = function.__globals__.get(chain[0])
    for name in chain[1:]:
        found = getattr(found, name, None)
    if isinstance(found, type) and issubclass(found, Message) and found.DESCRIPTOR is not None:
        return message_type(found)
    return None
