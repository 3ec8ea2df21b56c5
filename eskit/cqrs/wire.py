"""Requests and replies as NATS messages: the headers both sides agree on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from google.protobuf.message import Message

from eskit.cqrs.options import CallOptions
from eskit.domain.messages import message_type
from eskit.errors import InvalidArgument
from eskit.nats.headers import encode_value
from eskit.text.suggestions import find_nearest

MESSAGE_TYPE = "Message-Type"
COMMAND_ID = "Command-Id"
CORRELATION_ID = "Correlation-Id"
CAUSATION_ID = "Causation-Id"
PRINCIPAL_ID = "Principal-Id"
TENANT_ID = "Tenant-Id"
DEADLINE_MS = "Deadline-Ms"
EXPECTED_VERSION = "Expected-Version"
AT_LEAST_POSITION = "At-Least-Position"
TRACEPARENT = "traceparent"
GLOBAL_POSITION = "Global-Position"
ALREADY_PROCESSED = "Already-Processed"
_LONGEST_TEXT = 255

_OF_REQUESTS = {
    name.lower(): name
    for name in (
        MESSAGE_TYPE,
        COMMAND_ID,
        CORRELATION_ID,
        CAUSATION_ID,
        PRINCIPAL_ID,
        TENANT_ID,
        DEADLINE_MS,
        EXPECTED_VERSION,
        AT_LEAST_POSITION,
        TRACEPARENT,
    )
}
_DECISIVE = {COMMAND_ID, TENANT_ID, DEADLINE_MS, EXPECTED_VERSION, AT_LEAST_POSITION}
"""Without one of these a request would mean something else."""
_ALIKE = 0.8


class Headers(Mapping[str, str]):
    """The headers of a message. Their names have no case: ``Tenant-ID`` is ``Tenant-Id``."""

    __slots__ = ("_by_name", "_twice")

    def __init__(self, headers: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> None:
        self._by_name: dict[str, tuple[str, str]] = {}
        self._twice = ""
        for name, value in headers.items() if isinstance(headers, Mapping) else headers or ():
            _, first = self._by_name.setdefault(name.lower(), (name, value))
            if first != value:
                self._twice = name

    def __getitem__(self, name: str) -> str:
        return self._by_name[name.lower()][1]

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a header, or `default`: nearly every request lacks most of them."""
        found = self._by_name.get(name.lower())
        return default if found is None else found[1]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def check_names(self) -> list[str]:
        """Sentences about names that are nearly those of eskit, but not its own.

        Raises InvalidArgument for one of them without which the request would mean something
        else, and for two headers of one name that differ.
        """
        if self._twice:
            raise InvalidArgument(f"Header {self._twice} is there twice, and differs")
        remarks = []
        for lower, (name, _) in self._by_name.items():
            meant, is_sure = ("", False) if lower in _OF_REQUESTS else _meant(lower)
            if is_sure and meant in _DECISIVE:
                raise InvalidArgument(f"There is no header {name}", hint=f"Write {meant}.")
            if meant:
                remarks.append(f"Header {name} is none of eskit's: did its sender mean {meant}?")
        return remarks


@lru_cache(maxsize=256)
def _meant(name: str) -> tuple[str, bool]:
    """The header of eskit's that is spelled like `name`, and whether it is another spelling."""
    letters = _letters(name)
    for known, canonical in _OF_REQUESTS.items():
        if letters in {_letters(known), f"x{_letters(known)}", f"eskit{_letters(known)}"}:
            return canonical, True
    close = find_nearest(name, _OF_REQUESTS, alike=_ALIKE)
    return (_OF_REQUESTS[close], False) if close else ("", False)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def request_headers(message: Message, options: CallOptions, *, remaining: float) -> dict[str, str]:
    """What goes with a request. The deadline is sent as what is left of it: clocks differ."""
    values = {
        COMMAND_ID: options.command_id,
        CORRELATION_ID: options.correlation_id,
        CAUSATION_ID: options.causation_id,
        PRINCIPAL_ID: options.principal_id,
        TENANT_ID: options.tenant,
        TRACEPARENT: options.traceparent,
    }
    headers = {name: encode_value(value) for name, value in values.items() if value}
    headers[MESSAGE_TYPE] = message_type(message)
    headers[DEADLINE_MS] = str(max(1, round(remaining * 1000)))
    if options.expected_version is not None:
        headers[EXPECTED_VERSION] = str(options.expected_version)
    if options.at_least is not None:
        headers[AT_LEAST_POSITION] = str(options.at_least)
    return headers


def time_to_wait(headers: Headers, at_most: float) -> float:
    """How long who sent a request waits, in seconds; InvalidArgument for a number that is none."""
    deadline = _number(headers, DEADLINE_MS)
    return at_most if deadline is None else min(at_most, deadline / 1000)


def call_options(headers: Headers, *, principal_id: str, timeout: float) -> CallOptions:
    """What the headers of a request say; its deadline is given, as `timeout` in seconds.

    Raises InvalidArgument for a number that is none, and for text longer than an id may be: it
    would be in the headers of every event, and could make them more than the server takes.
    """
    return CallOptions(
        command_id=_text(headers, COMMAND_ID),
        correlation_id=_text(headers, CORRELATION_ID),
        causation_id=_text(headers, CAUSATION_ID),
        principal_id=principal_id,
        tenant=_text(headers, TENANT_ID),
        timeout=timeout,
        expected_version=_number(headers, EXPECTED_VERSION),
        traceparent=_text(headers, TRACEPARENT),
        at_least=_number(headers, AT_LEAST_POSITION),
    )


def reply_position(headers: Mapping[str, str]) -> int:
    """How far the log was, as a reply says; 0 if it does not say so in a number."""
    try:
        return _number(headers, GLOBAL_POSITION) or 0
    except InvalidArgument:
        return 0


def _text(headers: Mapping[str, str], name: str) -> str:
    text = headers.get(name)
    if text is None:
        return ""
    text = unquote(text)
    if len(text) > _LONGEST_TEXT:
        raise InvalidArgument(f"Header {name} has more than {_LONGEST_TEXT} characters")
    return text


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    # A longer one is no version or deadline, and Python refuses to parse thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) < len(str(2**63))):
        raise InvalidArgument(f"Header {name} is not a number from 0")
    return int(text)
