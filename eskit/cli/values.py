"""Field values for people, by what the proto says of them.

Text is quoted and numbers are not, an enum value goes without the prefix that repeats its enum's
name, and nested messages are told by dotted paths: the paths that changes have, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

_WIDE = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED64,
    }
)


def descriptor_of(kind: type[Message]) -> Descriptor:
    """The descriptor of a message class, as the type its stubs should have."""
    return cast("Descriptor", kind.DESCRIPTOR)


def leaves(
    data: Mapping[str, Any], descriptor: Descriptor | None, *, unset: bool = False
) -> Iterator[tuple[str, str]]:
    """Path and shown value of every field; with `unset` also of those with default values."""
    for path, value in _walk(data, ""):
        if unset or not is_default(value, path, descriptor):
            yield path, format_value(value, path, descriptor)


def is_default(value: object, path: str, descriptor: Descriptor | None) -> bool:
    """Whether the value is what the field has when nobody sets it."""
    return value in {"", 0, "0", None} or _is_first_enum(value, path, descriptor)


def format_value(value: object, path: str, descriptor: Descriptor | None) -> str:
    """One value in JSON's mapping as it is shown."""
    field = find_field(descriptor, path)
    if isinstance(value, str):
        if field is not None and field.enum_type is not None:
            return _short_enum(value, field.enum_type)
        if field is not None and field.type in _WIDE:
            return value
    return json.dumps(value, ensure_ascii=False)


def find_field(descriptor: Descriptor | None, path: str) -> FieldDescriptor | None:
    """The field that a dotted path leads to, as far as the descriptor tells."""
    field: FieldDescriptor | None = None
    for step in path.split("."):
        value = _map_value(field)
        if value is not None:
            field = value
        elif field is None or not step.isdigit():
            field = _find(descriptor if field is None else field.message_type, step)
            if field is None:
                return None
    return field


def _find(message: Descriptor | None, name: str) -> FieldDescriptor | None:
    return message.fields_by_name.get(name) if message is not None else None


def _walk(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _walk(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}.{index}")
    else:
        yield path, value


def _map_value(field: FieldDescriptor | None) -> FieldDescriptor | None:
    """What a map holds by key; None for a field that is no map."""
    entry = field.message_type if field is not None else None
    if entry is None or not entry.GetOptions().map_entry:
        return None
    return entry.fields_by_name["value"]


def _is_first_enum(value: object, path: str, descriptor: Descriptor | None) -> bool:
    field = find_field(descriptor, path)
    if field is None or field.enum_type is None or not isinstance(value, str):
        return False
    return any(known.number == 0 and known.name == value for known in field.enum_type.values)


def _short_enum(value: str, enum: EnumDescriptor) -> str:
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    return value.removeprefix(prefix) or value
