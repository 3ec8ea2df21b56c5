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
TRACEPARENT = "traceparent"
GLOBAL_POSITION = "Global-Position"
ALREADY_PROCESSED = "Already-Processed"


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
    return headers


def call_options(headers: Mapping[str, str], *, principal_id: str, timeout: float) -> CallOptions:
    """What the headers of a request say, its deadline cut to the server's own `timeout`.

    Raises InvalidArgument for a number that is none.
    """
    deadline = _number(headers, DEADLINE_MS)
    return CallOptions(
        command_id=unquote(headers.get(COMMAND_ID, "")),
        correlation_id=unquote(headers.get(CORRELATION_ID, "")),
        causation_id=unquote(headers.get(CAUSATION_ID, "")),
        principal_id=principal_id,
        tenant=unquote(headers.get(TENANT_ID, "")),
        timeout=timeout if deadline is None else min(timeout, deadline / 1000),
        expected_version=_number(headers, EXPECTED_VERSION),
        traceparent=unquote(headers.get(TRACEPARENT, "")),
    )


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    # A longer one is no version or deadline, and Python refuses to parse thousands of digits.
    if not (text.isascii() and text.isdigit() and len(text) < len(str(2**63))):
        raise InvalidArgument(f"Header {name} is not a number from 0")
    return int(text)
