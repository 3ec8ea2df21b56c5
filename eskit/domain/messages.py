"""From a protobuf full name to the class that the generated code registered for it."""

from __future__ import annotations

from functools import cache

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from eskit.errors import EskitError, UnknownEventType


class PayloadInvalid(EskitError):
    """Stored bytes that do not parse as the message their event type names."""

    code = "PAYLOAD_INVALID"


def message_type(message: Message | type[Message]) -> str:
    """The protobuf full name, which is what the store keeps as event type."""
    # Through the type: a field called DESCRIPTOR hides the descriptor on an instance.
    kind = message if isinstance(message, type) else type(message)
    return kind.DESCRIPTOR.full_name


@cache
def message_class(full_name: str) -> type[Message]:
    """The class for a full name; UnknownEventType if no loaded module defines it."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        raise UnknownEventType(full_name) from None
    return message_factory.GetMessageClass(descriptor)


def decode(full_name: str, data: bytes) -> Message:
    """Parse `data` as the message called `full_name`."""
    try:
        return message_class(full_name).FromString(data)
    except DecodeError as error:
        raise PayloadInvalid(
            f"{len(data)} bytes do not parse as {full_name}",
            hint="Compare the working schema with what was stored: eskit schema check --decode",
        ) from error
