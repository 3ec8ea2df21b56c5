"""What a stored event holds that a schema does not read and has not given up either."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from eskit.schema.comparison import Reserved


def holds_unknown_fields(message: Message) -> bool:
    """Whether a message, or one within it, has fields that are neither declared nor reserved.

    A field with the number of a declared one counts, too, if its type does not fit.
    """
    reserved = Reserved(cast("Descriptor", type(message).DESCRIPTOR))
    unknown = UnknownFieldSet(message)
    if any(not reserved.number(unknown[i].field_number) for i in range(len(unknown))):
        return True
    return any(holds_unknown_fields(inner) for inner in _messages_in(message))


def _messages_in(message: Message) -> Iterator[Message]:
    for field, content in type(message).ListFields(message):
        kind = field.message_type
        if kind is None:
            continue
        if kind.GetOptions().map_entry:
            if kind.fields_by_name["value"].message_type is not None:
                yield from content.values()
        elif field.is_repeated:
            yield from content
        else:
            yield content
