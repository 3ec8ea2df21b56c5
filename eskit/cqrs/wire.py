"""Requests and replies as NATS messages: the headers both sides agree on."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote

from google.protobuf.message import Message

from eskit.cqrs.options import CallOptions
from eskit.domain.messages import message_type
from eskit.errors import InvalidArgument
from eskit.messaging.headers import encode_value

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


def call_options(headers: Mapping[str, str], *, principal_id: str, timeout: float) -> CallOptions:
    """What the headers of a request say, its deadline cut to the server's own `timeout`.

    Raises InvalidArgument for a number that is none, and for text longer than an id may be: it
    would be in the headers of every event, and could make them more than the server takes.
    """
    deadline = _number(headers, DEADLINE_MS)
    return CallOptions(
        command_id=_text(headers, COMMAND_ID),
        correlation_id=_text(headers, CORRELATION_ID),
        causation_id=_text(headers, CAUSATION_ID),
        principal_id=principal_id,
        tenant=_text(headers, TENANT_ID),
        timeout=timeout if deadline is None else min(timeout, deadline / 1000),
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
    text = unquote(headers.get(name, ""))
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
