"""Methods and their answers on screen and as JSON objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from eskit.cli.text import Line
from eskit.cli.values import descriptor_of, leaves
from eskit.schema.wire import type_name

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from eskit.cqrs.options import Reply
    from eskit.domain.services import Method


def method_object(method: Method) -> dict[str, object]:
    """A method as --json shows it."""
    return {
        "method": method.path,
        "kind": method.kind,
        "request": descriptor_of(method.request).full_name,
        "response": descriptor_of(method.response).full_name,
        "fields": request_fields(method.request),
    }


def format_methods(methods: Iterable[Method]) -> Iterator[Line]:
    """A method with the fields of its request below it."""
    for method in methods:
        yield [(f"{method.kind:7}  ", "dim"), method.path]
        fields = request_fields(method.request)
        told = ", ".join(f"{field['name']} {field['type']}" for field in fields)
        yield [(f"         {told or 'no fields'}", "dim")]


def request_fields(request: type[Message]) -> list[dict[str, str]]:
    """Name and type of every field, as the proto writes them."""
    return [
        {"name": field.name, "type": field_type(field)} for field in descriptor_of(request).fields
    ]


def field_type(field: FieldDescriptor) -> str:
    """``string``, ``repeated account.v1.Line``, ``map<string, int64>``."""
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        return f"map<{type_name(key)}, {type_name(value)}>"
    return f"repeated {type_name(field)}" if field.is_repeated else type_name(field)


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
