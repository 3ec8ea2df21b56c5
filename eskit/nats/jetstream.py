"""The few requests of the JetStream API that eskit needs, as JSON over a connection.

Written against the API itself (docs.nats.io, "JetStream wire API"): its fields are the same for
every version of the client library.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from eskit.errors import BrokerUnavailable, MessagingError
from eskit.nats.connection import Connection, broker_errors
from eskit.nats.headers import header_lines

WRONG_LAST_SEQUENCE = 10071
SUBJECTS_OVERLAP = 10065
STREAM_NOT_FOUND = 10059
_MESSAGE_NOT_FOUND = 10037
_CONSUMER_NOT_FOUND = 10014
_UNAVAILABLE = 503
_TIMEOUT = 5.0


class JetStreamError(MessagingError):
    """JetStream answered a request with an error, told apart by its number."""

    code = "JETSTREAM_ERROR"

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamState:
    """A JetStream stream as the server describes it; `created` tells it from a later namesake.

    `at` is when that was, by the server's clock; None from one that does not say it (before 2.10).
    """

    name: str
    created: str
    messages: int
    first_sequence: int
    last_sequence: int
    config: Mapping[str, Any]
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message as the stream keeps it, since `stored_at` by the server's clock."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    data: bytes
    stored_at: datetime


async def find_stream(connection: Connection, name: str) -> StreamState | None:
    """The stream of that name, if there is one."""
    try:
        return _state(await api(connection, f"STREAM.INFO.{name}"))
    except JetStreamError as error:
        if error.number == STREAM_NOT_FOUND:
            return None
        raise


async def create_stream(connection: Connection, config: Mapping[str, Any]) -> StreamState:
    """Create a stream; the same one again changes nothing."""
    return _state(await api(connection, f"STREAM.CREATE.{config['name']}", config))


async def delete_stream(connection: Connection, name: str) -> None:
    """Delete a stream with everything in it."""
    await api(connection, f"STREAM.DELETE.{name}")


async def last_message(
    connection: Connection, stream: str, subject: str = ">"
) -> StoredMessage | None:
    """The last message that the stream still holds, of all or of one subject."""
    return await _find_message(connection, stream, {"last_by_subj": subject})


async def message_from(
    connection: Connection, stream: str, sequence: int, subject: str = ">"
) -> StoredMessage | None:
    """The first message at a sequence or after it, of all or of the subjects of a pattern."""
    return await _find_message(connection, stream, {"seq": sequence, "next_by_subj": subject})


async def list_subjects(connection: Connection, stream: str, matching: str) -> list[str]:
    """The subjects of which the stream holds messages."""
    answer = await api(connection, f"STREAM.INFO.{stream}", {"subjects_filter": matching})
    return sorted(answer["state"].get("subjects") or {})


async def publish(
    connection: Connection, subject: str, data: bytes, headers: Mapping[str, str]
) -> int:
    """Publish one message and return its sequence once the stream has it."""
    answer = await _request(connection, subject, data, dict(headers) or None)
    return int(answer["seq"])


async def create_reader(
    connection: Connection, stream: str, *, start: int, subjects: Sequence[str], inactive: float
) -> tuple[str, int]:
    """An ordered pull consumer that is gone by itself when unused for `inactive` seconds.

    Returns its name and how many messages it has to deliver now.
    """
    config: dict[str, Any] = {
        "ack_policy": "none",
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": max(start, 1),
        "inactive_threshold": round(inactive * 1e9),
        "max_deliver": 1,
        "mem_storage": True,
        "num_replicas": 1,
    }
    if len(subjects) == 1:
        config["filter_subject"] = subjects[0]
    elif subjects:
        config["filter_subjects"] = list(subjects)
    answer = await api(
        connection, f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config}
    )
    return str(answer["name"]), int(answer["num_pending"])


async def delete_reader(connection: Connection, stream: str, name: str) -> None:
    """Remove a consumer; one that is gone already is fine."""
    try:
        await api(connection, f"CONSUMER.DELETE.{stream}.{name}")
    except JetStreamError as error:
        if error.number not in (_CONSUMER_NOT_FOUND, STREAM_NOT_FOUND):
            raise


async def create_consumer(connection: Connection, stream: str, name: str) -> None:
    """Create a durable consumer that reads nothing: it exists as long as the stream does."""
    config = {"name": name, "durable_name": name, "ack_policy": "none", "deliver_policy": "new"}
    request = {"stream_name": stream, "config": config}
    await api(connection, f"CONSUMER.CREATE.{stream}.{name}", request)


async def list_consumers(connection: Connection, stream: str) -> list[str]:
    """The names of a stream's consumers; none of a stream that is not there."""
    names: list[str] = []
    while True:
        try:
            page = await api(connection, f"CONSUMER.NAMES.{stream}", {"offset": len(names)})
        except JetStreamError as error:
            if error.number == STREAM_NOT_FOUND:
                return []
            raise
        names += page["consumers"] or ()
        if not page["consumers"] or len(names) >= page["total"]:
            return names


async def has_consumer(connection: Connection, stream: str, name: str) -> bool:
    """Whether a stream has a durable consumer of that name."""
    try:
        await api(connection, f"CONSUMER.INFO.{stream}.{name}")
    except JetStreamError as error:
        if error.number in (_CONSUMER_NOT_FOUND, STREAM_NOT_FOUND):
            return False
        raise
    return True


async def api(
    connection: Connection, verb: str, request: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """One request of the JetStream API.

    Raises BrokerUnavailable, RequestTimeout, or JetStreamError with the server's number.
    """
    payload = json.dumps(request).encode() if request is not None else b""
    return await _request(connection, f"$JS.API.{verb}", payload, None)


async def _request(
    connection: Connection, subject: str, payload: bytes, headers: dict[str, str] | None
) -> dict[str, Any]:
    with broker_errors("JetStream"):
        if not connection.is_connected:
            raise BrokerUnavailable("NATS is away", hint="Waiting for it to come back.")
        message = await connection.request(subject, payload, timeout=_TIMEOUT, headers=headers)
    answer: dict[str, Any] = json.loads(message.data)
    if error := answer.get("error"):
        if error.get("code") == _UNAVAILABLE:
            raise BrokerUnavailable(f"JetStream is not ready: {error.get('description', '')}")
        raise JetStreamError(error.get("err_code", 0), str(error.get("description", error)))
    return answer


async def _find_message(
    connection: Connection, stream: str, which: Mapping[str, Any]
) -> StoredMessage | None:
    try:
        answer = await api(connection, f"STREAM.MSG.GET.{stream}", which)
    except JetStreamError as error:
        if error.number == _MESSAGE_NOT_FOUND:
            return None
        raise
    message = answer["message"]
    raw = base64.b64decode(message.get("hdrs", "")).decode(errors="replace")
    return StoredMessage(
        sequence=int(message["seq"]),
        subject=str(message["subject"]),
        headers=dict(header_lines(raw)),
        data=base64.b64decode(message.get("data", "")),
        stored_at=datetime.fromisoformat(message["time"]),
    )


def _state(answer: Mapping[str, Any]) -> StreamState:
    state = answer["state"]
    return StreamState(
        name=str(answer["config"]["name"]),
        created=str(answer["created"]),
        messages=int(state["messages"]),
        first_sequence=int(state["first_seq"]),
        last_sequence=int(state["last_seq"]),
        config=answer["config"],
        at=datetime.fromisoformat(answer["ts"]) if "ts" in answer else None,
    )
