"""A message as plain JSON values, whatever is in it.

It is protobuf's JSON mapping, except where that has no form for a value: then the value is there in
another form, with the reason under ``@problem``, and everything beside it is there as ever.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, cast

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from eskit.schema.pools import FindType, find_message

PROBLEM = "@problem"
"""The key of the reason why a value has no form in JSON."""

_WELL_KNOWN = "google.protobuf"
_WRAPPERS = "google/protobuf/wrappers.proto"
_WITH_TEXT = frozenset({"Timestamp", "Duration", "FieldMask"})
_WIDE = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def json_form(message: Message, find_type: FindType) -> Any:
    """The message's form in JSON: an object, or for well-known types what they stand for.

    `find_type` is asked for what an Any holds where the message's own pool does not have it.
    """
    return _Printer(find_type).form(message)


class _Field(NamedTuple):
    """What has to be known of a field; `value` is that of a map's values, or the field itself."""

    number: int
    key: str
    has_presence: bool
    is_repeated: bool
    is_map: bool
    value: FieldDescriptor
    default: Any


@lru_cache(maxsize=1024)
def _fields_of(descriptor: Descriptor) -> tuple[_Field, ...]:
    return tuple(map(_field, descriptor.fields))


def _field(field: FieldDescriptor) -> _Field:
    kind = field.message_type
    is_map = kind is not None and kind.GetOptions().map_entry
    return _Field(
        number=field.number,
        key=f"[{field.full_name}]" if field.is_extension else field.name,
        has_presence=field.has_presence,
        is_repeated=field.is_repeated,
        is_map=is_map,
        value=kind.fields_by_name["value"] if kind is not None and is_map else field,
        default=None if field.is_repeated else field.default_value,
    )


class _Printer:
    def __init__(self, find_type: FindType) -> None:
        self._find_type = find_type

    def form(self, message: Message) -> Any:
        descriptor = _descriptor(message)
        if descriptor.file.package == _WELL_KNOWN:
            return self._well_known(message, descriptor)
        return self._object(message, descriptor)

    def _object(self, message: Message, descriptor: Descriptor) -> dict[str, Any]:
        """Fields in the order of the proto, then extensions."""
        # Past the class: a message in this one may be called like the method.
        found = super(type(message), message).ListFields()  # type: ignore[misc]
        present = {field.number: (field, value) for field, value in found}
        values: dict[str, Any] = {}
        for field in _fields_of(descriptor):
            if field.number in present:
                values[field.key] = self._values(field, present.pop(field.number)[1])
            elif field.is_map:
                values[field.key] = {}
            elif field.is_repeated:
                values[field.key] = []
            elif not field.has_presence:
                values[field.key] = self._value(field.value, field.default)
        for extension, value in present.values():
            known = _field(extension)
            values[known.key] = self._values(known, value)
        return values

    def _values(self, field: _Field, value: Any) -> Any:
        if field.is_map:
            return {_key(key): self._value(field.value, value[key]) for key in sorted(value)}
        if field.is_repeated:
            return [self._value(field.value, item) for item in value]
        return self._value(field.value, value)

    def _value(self, field: FieldDescriptor, value: Any) -> Any:
        if field.message_type is not None:
            return self.form(value)
        if field.enum_type is not None:
            return _enum_value(field.enum_type, value)
        return _scalar(field, value)

    def _well_known(self, message: Any, descriptor: Descriptor) -> Any:
        name = descriptor.name
        if descriptor.file.name == _WRAPPERS:
            return self._value(descriptor.fields_by_name["value"], message.value)
        if name == "Any":
            return self._any(message, descriptor)
        if name in _WITH_TEXT:
            return self._text(message, descriptor)
        return self._json(message, descriptor)

    def _json(self, message: Any, descriptor: Descriptor) -> Any:
        """What struct.proto stands for; any other message is an object."""
        match descriptor.name:
            case "Struct":
                return {key: self.form(message.fields[key]) for key in sorted(message.fields)}
            case "ListValue":
                return [self.form(value) for value in message.values]
            case "Value":
                which = message.WhichOneof("kind")
                field = descriptor.fields_by_name[which] if which else None
                return self._value(field, getattr(message, which)) if field is not None else None
        return self._object(message, descriptor)

    def _text(self, message: Any, descriptor: Descriptor) -> Any:
        """A time, a duration or a mask; its fields where they are out of range."""
        try:
            return message.ToJsonString()
        except ValueError as error:
            return {**self._object(message, descriptor), PROBLEM: str(error).removesuffix(".")}

    def _any(self, packed: Any, descriptor: Descriptor) -> dict[str, Any]:
        """What is packed, or its bytes where that cannot be known."""
        if not packed.type_url and not packed.value:
            return {}
        found = {"@type": packed.type_url}
        name = packed.type_url.rpartition("/")[2]
        kind = self._packed_type(name, descriptor)
        if kind is None:
            reason = f"no schema of {name} is known" if name else "its type is not named"
            return {**found, "@value": _base64(packed.value), PROBLEM: reason}
        try:
            message = kind.FromString(packed.value)
        except DecodeError:
            reason = f"{len(packed.value)} bytes do not parse as {name}"
            return {**found, "@value": _base64(packed.value), PROBLEM: reason}
        form = self.form(message)
        has_form = kind.DESCRIPTOR.file.package == _WELL_KNOWN and _has_form(_descriptor(message))
        return {**found, "value": form} if has_form else {**found, **form}

    def _packed_type(self, name: str, descriptor: Descriptor) -> type[Message] | None:
        if not name:
            return None
        found = find_message(descriptor.file.pool, name)
        return message_factory.GetMessageClass(found) if found else self._find_type(name)


def _descriptor(message: Message) -> Descriptor:
    # Through the type: a field called DESCRIPTOR hides the descriptor on an instance.
    return cast("Descriptor", type(message).DESCRIPTOR)


def _has_form(descriptor: Descriptor) -> bool:
    """Whether a well-known type is more than an object with its fields."""
    special = descriptor.name in {"Any", "Struct", "ListValue", "Value", *_WITH_TEXT}
    return special or descriptor.file.name == _WRAPPERS


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _enum_value(enum: EnumDescriptor, value: int) -> str | int | None:
    if enum.full_name == "google.protobuf.NullValue":
        return None
    known = enum.values_by_number.get(value)
    return known.name if known is not None else value


def _scalar(field: FieldDescriptor, value: Any) -> Any:
    if field.cpp_type in _WIDE:
        return str(value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _base64(value)
    if field.cpp_type in _FLOATS:
        return _number(value, single=field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT)
    return value


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _number(value: float, *, single: bool) -> float | str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return _shortest(value) if single else value


def _shortest(value: float) -> float:
    """The shortest number that is the same one in 32 bits."""
    candidates: Iterable[float] = (float(f"{value:.{digits}g}") for digits in range(6, 9))
    return next((found for found in candidates if _in_32_bits(found) == value), value)


def _in_32_bits(value: float) -> float | None:
    try:
        (found,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return None
    return cast("float", found)
