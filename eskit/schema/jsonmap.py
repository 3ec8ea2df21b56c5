"""Messages to JSON and back, as protobuf's JSON mapping defines it.

Field names are those of the proto (``owner_name``, not ``ownerName``), fields with default
values are printed, and 64-bit integers are text, because JSON numbers cannot hold them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from eskit.errors import InvalidArgument
from eskit.schema.pools import FindType, find_message, no_type
from eskit.schema.printing import json_form
from eskit.text.suggestions import find_nearest

AMessage = TypeVar("AMessage", bound=Message)
_SUFFIX = "Event"
_WELL_KNOWN = "google.protobuf"
_ANY = "google.protobuf.Any"
_DEEPEST = 100
_KEEP_ONE = "Keep one of the two values."


def to_dict(message: Message, *, find_type: FindType = no_type) -> dict[str, Any]:
    """The message as plain JSON values in the order of the proto, default values included.

    What has no form in JSON is told beside the rest: the reason stands under ``@problem``.
    `find_type` is asked for what an Any holds where the message's own schema does not say.
    """
    return cast("dict[str, Any]", json_form(message, find_type))


def to_json(message: Message) -> str:
    """The message as one line of JSON text."""
    return json.dumps(to_dict(message), ensure_ascii=False)


def parse(message_type: type[AMessage], text: str) -> AMessage:
    """The message that a JSON object describes.

    Raises InvalidArgument that says where the JSON is wrong, or names the unknown field and the
    nearest one there is, or a key that is given twice: JSON leaves open which value counts.
    """
    try:
        values = json.loads(text, object_pairs_hook=_without_duplicates)
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
        pool = descriptor.file.pool  # where an Any finds its type
        return json_format.ParseDict(values, message_type(), descriptor_pool=pool)
    except (json_format.ParseError, TypeError, ValueError) as error:
        raise InvalidArgument(
            f"Not valid as {descriptor.full_name}: {error}", hint="Correct the value of that field."
        ) from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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


def _check_fields(
    descriptor: Descriptor, values: Mapping[str, Any], *, path: str, depth: int
) -> None:
    """Raise InvalidArgument for the first key that is no field, or one that has come before.

    So for enum values that there are not, and for what cannot be bytes.
    """
    if depth > _DEEPEST:
        return
    if descriptor.full_name == _ANY:
        _check_any(descriptor, values, path=path, depth=depth)
        return
    if descriptor.file.package == _WELL_KNOWN:
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
        _check_value(field, value, path=f"{path}{key}", depth=depth)


def _check_any(descriptor: Descriptor, values: Mapping[str, Any], *, path: str, depth: int) -> None:
    """What an Any holds is checked as its type; protobuf's own have the form in ``value``."""
    type_url = values.get("@type")
    if not isinstance(type_url, str):
        return  # protobuf says what is missing
    name = type_url.rpartition("/")[2]
    kind = find_message(descriptor.file.pool, name)
    if kind is None:
        raise InvalidArgument(
            f"{path}@type: no message {name!r} is known",
            hint="Name a message of the project's protos in full, or one of protobuf's own.",
        )
    rest = {key: value for key, value in values.items() if key != "@type"}
    _check_fields(kind, rest, path=path, depth=depth + 1)


def _check_value(field: FieldDescriptor, value: object, *, path: str, depth: int) -> None:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        entries = value.items() if isinstance(value, dict) else ()
        for key, item in entries:
            at = f"{path}[{key}]"
            _check_one(kind.fields_by_name["value"], item, path=at, depth=depth)
    elif field.is_repeated:
        for index, item in enumerate(value if isinstance(value, list) else ()):
            _check_one(field, item, path=f"{path}[{index}]", depth=depth)
    else:
        _check_one(field, value, path=path, depth=depth)


def _check_one(field: FieldDescriptor, value: object, *, path: str, depth: int) -> None:
    if field.message_type is not None:
        if isinstance(value, dict):
            _check_fields(field.message_type, value, path=f"{path}.", depth=depth + 1)
    elif field.enum_type is not None:
        if isinstance(value, str) and not _is_enum_value(field.enum_type, value):
            known = list(field.enum_type.values_by_name)
            near = find_nearest(value.upper(), known)
            raise InvalidArgument(
                f"{path}: {field.enum_type.full_name} has no value {value!r}",
                hint=f"Did you mean {near}?" if near else f"Its values: {', '.join(known)}.",
            )
    elif field.type == FieldDescriptor.TYPE_BYTES and not isinstance(value, (str, type(None))):
        raise InvalidArgument(
            f"{path} holds bytes, which are text in JSON, not {json.dumps(value)}",
            hint="Write them in base64, such as aGVsbG8=",
        )


def _is_enum_value(enum: EnumDescriptor, value: str) -> bool:
    """By name, or by a number that is text."""
    return value in enum.values_by_name or value.removeprefix("-").isdecimal()


def _unknown_field(
    descriptor: Descriptor, path: str, key: str, known: tuple[str, ...]
) -> InvalidArgument:
    near = find_nearest(key, known)
    if near:
        hint = f"Did you mean {near}?"
    elif known:
        hint = f"Its fields: {', '.join(known)}."
    else:
        hint = "It has no fields."
    return InvalidArgument(f"{descriptor.full_name} has no field {path!r}", hint=hint)
