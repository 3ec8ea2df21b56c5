"""Methods and their answers on screen and as JSON objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from eskit.cli.terminal.tables import columns
from eskit.cli.terminal.text import Line, Span
from eskit.cli.terminal.values import descriptor_of, leaves
from eskit.schema.fields import (
    NO_COMMENTS,
    FieldInfo,
    custom_options,
    describe_fields,
    option_value,
)

if TYPE_CHECKING:
    from eskit.cqrs.options import Reply
    from eskit.domain.services import Method


def method_object(method: Method, comments: Mapping[str, str] = NO_COMMENTS) -> dict[str, object]:
    """A method as --json shows it; `comments` are those of its protos, by full name."""
    return {
        "method": method.path,
        "kind": method.kind,
        "request": descriptor_of(method.request).full_name,
        "response": descriptor_of(method.response).full_name,
        "fields": [asdict(f) for f in describe_fields(descriptor_of(method.request), comments)],
        "options": options_of(method),
        "doc": comments.get(method.full_name, ""),
    }


def format_methods(methods: Iterable[Method]) -> Iterator[Line]:
    """A method with the fields of its request below it."""
    for method in methods:
        yield [(f"{method.kind:7}  ", "dim"), method.path]
        fields = describe_fields(descriptor_of(method.request))
        told = ", ".join(f"{field.name} {field.type}" for field in fields)
        yield [(f"         {told or 'no fields'}", "dim")]


def format_method(method: Method, comments: Mapping[str, str] = NO_COMMENTS) -> Iterator[Line]:
    """One method with everything that its protos say of it and of its request and response."""
    yield [(f"{method.kind:7}  ", "dim"), (method.path, "name")]
    if doc := comments.get(method.full_name):
        yield ["         ", doc]
    for name, value in options_of(method).items():
        yield ["         ", (f"({name}) = {option_value(value)}", "dim")]
    for role, kind in (("request", method.request), ("response", method.response)):
        descriptor = descriptor_of(kind)
        yield [(f"{role:8} ", "dim"), descriptor.full_name]
        rows = list(_rows(describe_fields(descriptor, comments), "  "))
        yield from columns(rows or [(("         ", ""), ("no fields", "dim"))], wrapped=True)


def _rows(fields: Sequence[FieldInfo], indent: str) -> Iterator[tuple[Span, ...]]:
    """Name, type and what else there is to say; fields of messages below their own."""
    for field in fields:
        yield ((f"       {indent}{field.name}", "key"), (field.type, ""), (field.said, "dim"))
        yield from _rows(field.fields, f"{indent}  ")


def options_of(method: Method) -> dict[str, Any]:
    """The custom options of a method, by full name."""
    pool = descriptor_of(method.request).file.pool
    try:
        service = pool.FindServiceByName(method.service)
    except KeyError:  # its request is of a file that does not know the service
        return {}
    return custom_options(service.methods_by_name[method.name])


def format_response(reply: Reply, answer: Mapping[str, Any]) -> Iterator[Line]:
    """The response's fields, one a line."""
    fields = list(leaves(answer, descriptor_of(type(reply.message)), unset=True))
    longest = max((len(name) for name, _ in fields), default=0)
    for name, value in fields:
        yield [(name.ljust(longest), "key"), "  ", value]
    if not fields:
        yield "Nothing in the response"
    if reply.already_processed:
        yield [("This command was carried out before; this is its first response.", "dim")]
