"""What a store remembers of a command, and what an append answers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from google.protobuf.message import Message

from eskit.domain.messages import encode
from eskit.errors import InvalidArgument
from eskit.text.unicode import check_text, is_text

_MAX_ID = 255
_REACTION = "reaction:"
_POSITION_DIGITS = 19


def reaction_command_id(name: str, position: int, unique: str) -> str:
    """The id of a command that a reaction sends for the event at a position.

    Ids of this kind are the reactions' own: no request may bring one. They sort by reaction and
    position, so that a store can tell which of them a reaction still needs.
    """
    return first_reaction_id(name, position) + unique


def first_reaction_id(name: str, position: int | None) -> str:
    """What every id for that event begins with; without a position, behind every id of `name`."""
    if position is None:
        return f"{_REACTION}{name};"  # the character after ':'
    return f"{_REACTION}{name}:{position:0{_POSITION_DIGITS}}:"


def is_reaction_id(command_id: str) -> bool:
    """Whether only a reaction may send a command with this id."""
    return command_id.startswith(_REACTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The record that makes a command idempotent.

    `fingerprint` tells commands apart that use the same id; `response` is returned when the
    command is sent again.
    """

    id: str
    fingerprint: str
    response: bytes = b""

    def __post_init__(self) -> None:
        for name, value in (("id", self.id), ("fingerprint", self.fingerprint)):
            if not isinstance(value, str):
                raise InvalidArgument(
                    f"The {name} of a command is {value!r:.200}, which is no text",
                    hint="For example Command(id='c-1', fingerprint='Open').",
                )
        if not isinstance(self.response, bytes):
            raise InvalidArgument(
                f"The response of a command is {self.response!r:.200}, which is not bytes",
                hint="Serialise the message that answers it.",
            )
        check_command_id(self.id)
        check_text(self.fingerprint, "A fingerprint")


def check_command_id(command_id: str) -> str:
    """Return `command_id`, or raise InvalidArgument if no command may have it."""
    if not is_text(command_id) or not (
        1 <= len(command_id) <= _MAX_ID and command_id.isprintable()
    ):
        raise InvalidArgument(
            f"{command_id!r:.300} is not a command id",
            hint=f"A command id is 1 to {_MAX_ID} printable characters, such as a UUID.",
        )
    return command_id


def fingerprint(method: str, request: Message) -> str:
    """Method name and SHA-256 of the request: equal for a resend, different for anything else."""
    return f"{method}:{hashlib.sha256(encode(request)).hexdigest()}"


class AppendResult(NamedTuple):
    """What an append did, or what the first append with this command id did.

    `version` is the stream's version after it, `global_position` that of its last event (of the
    stream's last one when nothing was appended; 0 for an empty stream).
    """

    version: int
    global_position: int
    already_processed: bool = False
    response: bytes = b""
