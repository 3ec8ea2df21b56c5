"""The fields of a message as its proto declares them, with the messages within it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from eskit.schema.pools import find_message, no_type
from eskit.schema.printing import json_form
from eskit.schema.wire import type_name

NO_COMMENTS: Mapping[str, str] = MappingProxyType({})
_WELL_KNOWN = "google.protobuf"
_OWN = "[eventsourcing."


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldInfo:
    """One field: `type` as the proto writes it, `oneof` the oneof it is in, or empty.

    `values` are those of an enum; `fields` those of a message, none for protobuf's own types and
    where the message is one that this one is in. `options` are custom ones by full name.
    """

    name: str
    type: str
    doc: str
    oneof: str
    values: tuple[str, ...]
    options: Mapping[str, Any]
    fields: tuple[FieldInfo, ...]

    @property
    def said(self) -> str:
        """What there is to say of it besides its type, on one line."""
        of = f"one of {self.oneof}" if self.oneof else ""
        values = f"one of {', '.join(self.values)}" if self.values else ""
        options = (f"({name}) = {option_value(value)}" for name, value in self.options.items())
        return "; ".join(filter(None, (of, values, *options, self.doc)))


def option_value(value: object) -> str:
    """The value of an option as it is shown."""
    return json.dumps(value, ensure_ascii=False)


def describe_fields(
    message: Descriptor, comments: Mapping[str, str] = NO_COMMENTS
) -> tuple[FieldInfo, ...]:
    """The fields of a message in the order of its proto; `comments` are by full name."""
    return _describe(message, comments, frozenset())


def custom_options(declared: Any) -> dict[str, Any]:
    """The options of a message, a field or a method that are not protobuf's and not eskit's own."""
    options = declared.GetOptions()
    if not options.ByteSize():
        return {}
    # The pool that knows the declaration knows what its options mean; the loaded one may not.
    file = getattr(declared, "file", None) or declared.containing_service.file
    kind = find_message(file.pool, options.DESCRIPTOR.full_name)
    if kind is None:
        return {}
    read = message_factory.GetMessageClass(kind).FromString(options.SerializeToString())
    return {
        name[1:-1]: value
        for name, value in json_form(read, no_type).items()
        if name.startswith("[") and not name.startswith(_OWN)
    }


def field_type(field: FieldDescriptor) -> str:
    """``string``, ``repeated account.v1.Line``, ``map<string, int64>``."""
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        return f"map<{type_name(key)}, {type_name(value)}>"
    return f"repeated {type_name(field)}" if field.is_repeated else type_name(field)


def _describe(
    message: Descriptor, comments: Mapping[str, str], outer: frozenset[str]
) -> tuple[FieldInfo, ...]:
    if message.full_name in outer or message.file.package == _WELL_KNOWN:
        return ()
    return tuple(_field(field, comments, outer | {message.full_name}) for field in message.fields)


def _field(field: FieldDescriptor, comments: Mapping[str, str], outer: frozenset[str]) -> FieldInfo:
    entry = field.message_type
    value = (
        entry.fields_by_name["value"]
        if entry is not None and entry.GetOptions().map_entry
        else field
    )
    oneof = field.containing_oneof
    enum = value.enum_type
    return FieldInfo(
        name=field.name,
        type=field_type(field),
        doc=comments.get(field.full_name, ""),
        oneof=oneof.name if oneof is not None and len(oneof.fields) > 1 else "",
        values=tuple(known.name for known in enum.values) if enum is not None else (),
        options=custom_options(field),
        fields=_describe(value.message_type, comments, outer) if value.message_type else (),
    )
