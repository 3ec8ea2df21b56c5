"""Which field types read each other's bytes.

Source: "Updating A Message Type" in the language guide of Protocol Buffers. Where the guide says
that values are truncated or signs are lost, that direction counts as unreadable here.
"""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.descriptor import FieldDescriptor as Field


class Readable(NamedTuple):
    """Whether the new type reads what the old one wrote, and the other way round."""

    backward: bool
    forward: bool


SAME = Readable(backward=True, forward=True)
WIDER = Readable(backward=True, forward=False)
NARROWER = Readable(backward=False, forward=True)
DIFFERENT = Readable(backward=False, forward=False)

_MESSAGES = {Field.TYPE_MESSAGE, Field.TYPE_GROUP}
_WIDER = {
    (Field.TYPE_BOOL, Field.TYPE_INT32),
    (Field.TYPE_BOOL, Field.TYPE_UINT32),
    (Field.TYPE_BOOL, Field.TYPE_INT64),
    (Field.TYPE_BOOL, Field.TYPE_UINT64),
    (Field.TYPE_INT32, Field.TYPE_INT64),
    (Field.TYPE_UINT32, Field.TYPE_UINT64),
    (Field.TYPE_UINT32, Field.TYPE_INT64),
    (Field.TYPE_SINT32, Field.TYPE_SINT64),
    (Field.TYPE_ENUM, Field.TYPE_INT64),
    (Field.TYPE_STRING, Field.TYPE_BYTES),
}
_SAME = {
    (Field.TYPE_ENUM, Field.TYPE_INT32),
    (Field.TYPE_INT32, Field.TYPE_ENUM),
}


def readable(old: int, new: int) -> Readable:
    """Whether two field types (FieldDescriptor.TYPE_…) read each other."""
    if old == new or (old, new) in _SAME:
        return SAME
    if (old, new) in _WIDER:
        return WIDER
    if (new, old) in _WIDER:
        return NARROWER
    return DIFFERENT


def is_message(kind: int) -> bool:
    """Whether the field type is a message or a group."""
    return kind in _MESSAGES


def type_name(field: Field) -> str:
    """The type of a field as a proto writes it."""
    for kind in (field.message_type, field.enum_type):
        if kind is not None:
            return str(kind.full_name)
    return _NAMES[field.type]


_NAMES = {
    getattr(Field, name): name.removeprefix("TYPE_").lower()
    for name in dir(Field)
    if name.startswith("TYPE_")
}
