"""Messages to JSON and back, as protobuf's JSON mapping defines it.

Field names are those of the proto (``owner_name``, not ``ownerName``), fields with default
values are printed, and 64-bit integers are text, because JSON numbers cannot hold them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from eskit.errors import InvalidArgument

AMessage = TypeVar("AMessage", bound=Message)
_SUFFIX = "Event"
_WELL_KNOWN = "google.protobuf"
_STRUCT = "google.protobuf.Struct"
_DEEPEST = 100
_KEEP_ONE = "Keep one of the two values."


def to_dict(message: Message) -> dict[str, Any]:
    """The message as plain JSON values in the order of the proto, default values included."""
    descriptor = cast("Descriptor", type(message).DESCRIPTOR)
    try:
        values = json_format.MessageToDict(
            message,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            descriptor_pool=descriptor.file.pool,  # where an Any finds its type
        )
    except (TypeError, AttributeError, ValueError, OverflowError, json_format.Error) as error:
        # An Any of a type that no loaded module defines, a field called like a method, or a
        # time that is in no calendar.
        raise InvalidArgument(
            f"{descriptor.full_name} has no JSON form: {error}",
            hint="Import the generated module of every type that it packs.",
        ) from error
    return _in_proto_order(descriptor, values)


def to_json(message: Message) -> str:
    """The message as one line of JSON text."""
    return json.dumps(to_dict(message), ensure_ascii=False)


def parse(message_type: type[AMessage], text: str) -> AMessage:
    """The message that a JSON object describes.

    Raises InvalidArgument that says where the JSON is wrong, or names the unknown field and the
    nearest one there is, or a key that is given twice: JSON leaves open which value counts.
    """
    try:
        values = json.loads(text, object_pairs_hook=_without_twins)
    except json.JSONDecodeError as error:
        raise InvalidArgument(
            f"Not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            hint="""Write an object in double quotes, such as {"account_id": "acc-001"}.""",
        ) from None
    except RecursionError:
        raise InvalidArgument("The JSON is nested too deeply") from None
    descriptor = cast("Descriptor", message_type.DESCRIPTOR)
    if not isinstance(values, dict):
        raise InvalidArgument(
            f"{descriptor.full_name} is a JSON object, not {type(values).__name__}",
            hint="""Write an object, such as {"account_id": "acc-001"}.""",
        )
    _check_fields(descriptor, values, path="", depth=0)
    try:
        return json_format.ParseDict(values, message_type())
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise InvalidArgument(
            f"Not valid as {descriptor.full_name}: {error}", hint="Correct the value of that field."
        ) from error


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise InvalidArgument(f"{key!r} is given twice in one JSON object", hint=_KEEP_ONE)
        values[key] = value
    return values


def short(event_type: str) -> str:
    """An event type for people: ``account.v1.AccountOpenedEvent`` gives ``AccountOpened``."""
    name = event_type.rpartition(".")[2]
    return name.removesuffix(_SUFFIX) or name


def _in_proto_order(descriptor: Descriptor, values: dict[str, Any]) -> dict[str, Any]:
    """The same values, with keys where the proto has the fields."""
    if descriptor.file.package == _WELL_KNOWN:
        return _sorted_struct(values) if descriptor.full_name == _STRUCT else values
    ordered: dict[str, Any] = {}
    for field in descriptor.fields:
        if field.name not in values:
            continue
        value = values[field.name]
        kind = _value_type(field)
        if kind is None:
            is_map = isinstance(value, dict)
            ordered[field.name] = {k: value[k] for k in _sorted_keys(value)} if is_map else value
        elif isinstance(value, list):
            ordered[field.name] = [_nested_order(kind, item) for item in value]
        elif kind is not field.message_type:  # a map
            ordered[field.name] = {k: _nested_order(kind, value[k]) for k in _sorted_keys(value)}
        else:
            ordered[field.name] = _nested_order(kind, value)
    return ordered | {key: value for key, value in values.items() if key not in ordered}


def _sorted_keys(values: Mapping[str, Any]) -> list[str]:
    """The keys of a map in an order of their own: protobuf's is that of a hash. Numbers by size."""
    try:
        return sorted(values, key=int)
    except ValueError:
        return sorted(values)


def _sorted_struct(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted_struct(value[key]) for key in sorted(value)}
    return [_sorted_struct(item) for item in value] if isinstance(value, list) else value


def _nested_order(descriptor: Descriptor, value: Any) -> Any:
    """Well-known types may be text, numbers or lists; everything else is an object."""
    return _in_proto_order(descriptor, value) if isinstance(value, dict) else value


def _check_fields(
    descriptor: Descriptor, values: Mapping[str, Any], *, path: str, depth: int
) -> None:
    """Raise InvalidArgument for the first key that is no field, or one that has come before."""
    if descriptor.file.package == _WELL_KNOWN or depth > _DEEPEST:
        return  # well-known types have JSON forms of their own
    by_name = {field.name: field for field in descriptor.fields}
    by_json_name = {field.json_name: field for field in descriptor.fields}
    given: dict[str, str] = {}
    for key, value in values.items():
        if key.startswith("["):
            continue  # an extension
        field = by_name.get(key) or by_json_name.get(key)
        if field is None:
            raise _unknown_field(descriptor, f"{path}{key}", key, tuple(by_name))
        if field.name in given:
            raise InvalidArgument(
                f"{given[field.name]!r} and {key!r} are the same field", hint=_KEEP_ONE
            )
        given[field.name] = key
        kind = _value_type(field)
        if kind is None:
            continue
        for name, nested in _nested(field, value):
            _check_fields(kind, nested, path=f"{path}{key}{name}.", depth=depth + 1)


def _value_type(field: FieldDescriptor) -> Descriptor | None:
    """The message type of a field, or of a map's values; None for scalars."""
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return kind.fields_by_name["value"].message_type
    return kind


def _nested(field: FieldDescriptor, value: object) -> list[tuple[str, Mapping[str, Any]]]:
    """Where `value` holds messages: what to add to the path, and their JSON objects."""
    if isinstance(value, list):
        return [(f"[{i}]", item) for i, item in enumerate(value) if isinstance(item, dict)]
    if not isinstance(value, dict):
        return []
    if field.message_type is None or not field.message_type.GetOptions().map_entry:
        return [("", value)]
    return [(f"[{key}]", item) for key, item in value.items() if isinstance(item, dict)]


def _unknown_field(
    descriptor: Descriptor, path: str, key: str, known: tuple[str, ...]
) -> InvalidArgument:
    near = get_close_matches(key, known, n=1)
    if near:
        hint = f"Did you mean {near[0]}?"
    elif known:
        hint = f"Its fields: {', '.join(known)}."
    else:
        hint = "It has no fields."
    return InvalidArgument(f"{descriptor.full_name} has no field {path!r}", hint=hint)
