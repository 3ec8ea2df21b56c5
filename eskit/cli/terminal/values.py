"""Field values for people, by what the proto says of them.

Text is quoted and numbers are not, an enum value goes without the prefix that repeats its enum's
name, and nested messages are shown by dotted paths: the paths that changes have, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from eskit.schema.paths import Shape, is_map, join_path, shape_below

_WIDE = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED64,
    }
)

_WIDE_WRAPPERS = frozenset({"google.protobuf.Int64Value", "google.protobuf.UInt64Value"})


def leaves(
    data: Any, shape: Shape, *, unset: bool = False, path: str = ""
) -> Iterator[tuple[str, str]]:
    """Path and shown value of every field; with `unset` also of unset ones.

    A message in a list is one value, and so is a list of numbers or texts. A well-known type that
    is no object in JSON, such as a time, is one value without a path.
    """
    if not isinstance(data, Mapping):
        yield path, format_value(data, None)
        return
    for key, value in data.items():
        field, below = shape_below(shape, key), join_path(path, key)
        if not unset and is_unset(value, field):
            continue
        if isinstance(value, Mapping) and value:
            inner = list(leaves(value, field, unset=unset, path=below))
            yield from inner or [(below, "{}")]
        elif isinstance(value, list) and value and all(isinstance(i, Mapping) for i in value):
            for index, item in enumerate(value):
                yield join_path(below, index), format_value(item, field)
        else:
            yield below, format_value(value, field)


def is_unset(value: object, field: FieldDescriptor | None) -> bool:
    """Whether the field is unset.

    A field whose presence is known is in the JSON mapping only where it was set: also false, 0 or
    an empty message then says something. Any other field is unset while it has its default.
    What stands in a map or a list was put there.
    """
    if field is None or field.has_presence:
        return False
    if field.containing_type is not None and field.containing_type.GetOptions().map_entry:
        return False
    if field.is_repeated:
        return value == ({} if is_map(field) else [])
    if isinstance(value, float):
        return str(value) == "0.0"
    return value in {"", 0, "0"} or _is_zero(value, field)


def format_value(value: object, field: FieldDescriptor | None) -> str:
    """One value in JSON's mapping as it is shown."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name} {shown}' for name, shown in leaves(value, field))}}}"
    if isinstance(value, list):
        return f"[{', '.join(format_value(item, field) for item in value)}]"
    if isinstance(value, str) and field is not None:
        if field.enum_type is not None:
            return short_enum(value, field.enum_type)
        if field.type in _WIDE or _is_wide_wrapper(field):
            return value
    return json.dumps(value, ensure_ascii=False)


def short_enum(value: str, enum: EnumDescriptor) -> str:
    """``STATUS_OPEN`` of an enum ``Status`` as ``OPEN``."""
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    return value.removeprefix(prefix) or value


def _is_wide_wrapper(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.full_name in _WIDE_WRAPPERS


def _is_zero(value: object, field: FieldDescriptor) -> bool:
    enum = field.enum_type
    if enum is None or not isinstance(value, str):
        return False
    return any(known.number == 0 and known.name == value for known in enum.values)
