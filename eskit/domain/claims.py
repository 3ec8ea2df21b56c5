"""Unique values that a stream takes and gives up together with the events it appends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eskit.errors import InvalidArgument
from eskit.text.unicode import check_text, is_text


@dataclass(frozen=True, slots=True)
class Claim:
    """One change to the unique values of a stream: an index name, a value, and which way."""

    operation: Literal["claim", "release"]
    index: str
    value: str

    def __post_init__(self) -> None:
        if not (is_text(self.index) and is_text(self.value)):
            raise InvalidArgument(
                f"A claim of {self.index!r:.100} and {self.value!r:.100} is not made of texts",
                hint="Write the value as text, for example claim('number', str(number)).",
            )
        check_text(self.index + self.value, "A claim")
        if not self.index or not self.value:
            raise InvalidArgument(
                "A claim needs an index name and a value",
                hint="For example claim('email', command.email).",
            )


def claim(index: str, value: str) -> Claim:
    """Take `value` in `index` for the stream; ClaimTaken if another stream has it.

    >>> from google.protobuf.wrappers_pb2 import StringValue
    >>> from eskit import NO_STREAM, NewEvent, claim, open_store
    >>> store = open_store("memory://")
    >>> joined = StringValue(value="Alice")
    >>> for stream in "User-1", "User-2":
    ...     event = NewEvent(joined, claims=(claim("email", "alice@example.com"),))
    ...     _ = store.append(stream, [event], expected_version=NO_STREAM)
    Traceback (most recent call last):
    eskit.errors.ClaimTaken: email 'alice@example.com' is already claimed by User-1
    """
    return Claim("claim", index, value)


def release(index: str, value: str) -> Claim:
    """Release `value` in `index`, if the stream has it."""
    return Claim("release", index, value)
