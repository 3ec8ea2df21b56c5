"""From a protobuf full name to the class that the generated code registered for it."""

from __future__ import annotations

import re
from functools import cache

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, EncodeError, Message

from eskit.errors import EskitError, InvalidArgument, UnknownEventType
from eskit.text.unicode import is_text

DEEPEST = 100
"""How deep messages may lie in one another: what the parsers of protobuf accept."""

MAX_NAME = 512
"""Letters of an event type: it is a part of the subject under which NATS has its events."""
_FULL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")

_TOO_SHORT = 2 * DEEPEST
"""Bytes in which no message can lie deeper: each level takes a tag and a length at least."""


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


def encode(message: Message) -> bytes:
    """The bytes of a message, equal for equal ones, and such that they parse.

    Raises InvalidArgument for a message that lacks a required field, or that is nested deeper than
    parsers go: either could be stored or sent, and never be read.
    """
    kind = type(message)
    try:
        # Through the type: a field may be called like a method.
        data = kind.SerializeToString(message, deterministic=True)
    except EncodeError as error:
        raise _cannot_be_encoded(message) from error
    except (AttributeError, TypeError) as error:
        raise InvalidArgument(
            f"{message!r:.200} is no protobuf message",
            hint="Pass an instance of a generated message class.",
        ) from error
    if len(data) > _TOO_SHORT and _may_be_deep(kind.DESCRIPTOR):
        try:
            kind.FromString(data)
        except DecodeError as error:
            raise _too_deep(kind) from error
    return data


def _cannot_be_encoded(message: Message) -> InvalidArgument:
    kind = type(message)
    missing = ", ".join(kind.FindInitializationErrors(message))  # type: ignore[attr-defined]
    if missing:
        return InvalidArgument(
            f"{message_type(kind)} lacks required fields: {missing}", hint="Set them."
        )
    return _too_deep(kind)


def _too_deep(kind: type[Message]) -> InvalidArgument:
    return InvalidArgument(
        f"A {message_type(kind)} is nested more than {DEEPEST} deep, or too large, and could not "
        "be read again",
        hint="Keep what repeats in a repeated field instead of in one another.",
    )


@cache
def _may_be_deep(kind: Descriptor) -> bool:
    """Whether messages of a type can lie in one another without end, or nearly so."""
    open_, done = set[str](), set[str]()
    steps: list[tuple[Descriptor, bool]] = [(kind, False)]
    while steps:
        descriptor, left = steps.pop()
        name = descriptor.full_name
        if left:
            open_.remove(name)
            done.add(name)
            continue
        if name in open_ or descriptor.is_extendable:
            return True
        if name in done:
            continue
        open_.add(name)
        if len(open_) >= DEEPEST:
            return True
        steps.append((descriptor, True))
        inner = (field.message_type for field in descriptor.fields)
        steps += [(message, False) for message in inner if message is not None]
    return False


def check_event_type(name: str) -> str:
    """Return `name`, or raise InvalidArgument if no message is called that."""
    if not is_text(name) or len(name) > MAX_NAME or not _FULL_NAME.match(name):
        raise InvalidArgument(
            f"{name!r:.300} is not the full name of a message",
            hint=f"Such as account.v1.AccountOpenedEvent, with {MAX_NAME} letters at most.",
        )
    return name


def decode(full_name: str, data: bytes) -> Message:
    """Parse `data` as the message called `full_name`."""
    try:
        return message_class(full_name).FromString(data)
    except DecodeError as error:
        raise PayloadInvalid(
            f"{len(data)} bytes do not parse as {full_name}",
            hint="Compare the working schema with what was stored: eskit schema check --decode",
        ) from error
