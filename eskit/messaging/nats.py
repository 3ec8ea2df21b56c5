"""Publishing to JetStream: the relay's outlet."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from nats.aio.msg import Msg

from eskit.domain.events import RecordedEvent
from eskit.domain.subjects import DEFAULT_NAMES
from eskit.errors import (
    BrokerMismatch,
    BrokerUnavailable,
    EskitError,
    EventUnpublishable,
    JetStreamError,
    PublishInterrupted,
)
from eskit.messaging.lease import lease_of
from eskit.messaging.relay import LastEvent, OutletState, Relay, RelayStatus
from eskit.messaging.subscriptions_nats import KeyValueSubscriptions
from eskit.nats.connection import Connection, broker_errors
from eskit.nats.headers import (
    MESSAGE_ID,
    encode_headers,
    source_of,
    stream_subjects,
    subject_of,
)
from eskit.nats.jetstream import (
    SUBJECTS_OVERLAP,
    StoredMessage,
    StreamState,
    create_stream,
    delete_stream,
    find_stream,
    last_message,
    message_from,
)
from eskit.store.eventstore import EventStore
from eskit.text.quantities import format_duration, format_size

_log = logging.getLogger("eskit.relay")
_EXPECTED_LAST_SEQUENCE = "Nats-Expected-Last-Sequence"
_EXPECTED_LAST_ID = "Nats-Expected-Last-Msg-Id"
_CONTROL_LINE = 4096
"""The longest line that a server takes by default; it does not tell clients of another limit."""
_NUMBERS_IN_LINE = 32
_HEADERS_AT_MOST = 65_535
_FULL = frozenset({10023, 10028, 10047, 10077})
"""JetStream's numbers for having no room, or a stream that takes no more."""
_TOO_LARGE = frozenset({10054, 10097})
"""JetStream's numbers for a message, or headers, beyond its limits."""
_INBOX_LENGTH = 64
_SUBJECT = re.compile(r"[^\s.*>\x00]+(\.[^\s.*>\x00]+)*")
_LOOK_BACK = 100
_ACK_TIMEOUT = 5.0
_LOOK_EVERY = 0.25
_DUPLICATE_WINDOW = 120.0
_NO_LIMIT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """How the JetStream stream keeps events.

    `max_age` in seconds and `max_bytes` are limits for throwing the oldest away; 0 is none.
    `duplicate_window` is for how many seconds the stream knows an event id again. What is None is
    left to the server and not compared with a stream that exists already.
    """

    name: str = DEFAULT_NAMES.stream
    prefix: str = DEFAULT_NAMES.prefix
    replicas: int | None = None
    max_age: float | None = None
    max_bytes: int | None = None
    duplicate_window: float | None = None

    def config(self) -> dict[str, Any]:
        """The stream's configuration as JetStream wants it."""
        config: dict[str, Any] = {
            "name": self.name,
            "subjects": stream_subjects(self.prefix),
            "retention": "limits",
            "storage": "file",
            "discard": "old",
            "allow_direct": True,
            # JetStream wants it to be no longer than the age.
            "duplicate_window": _nanoseconds(min(_DUPLICATE_WINDOW, self.max_age or math.inf)),
            "num_replicas": self.replicas or 1,
        }
        return {**config, **self._limits()}

    def check(self, config: Mapping[str, Any]) -> None:
        """Raise BrokerMismatch, naming every difference, if an existing stream does not fit."""
        wanted: dict[str, Any] = {"retention": "limits", "storage": "file", **self._limits()}
        if self.replicas is not None:
            wanted["num_replicas"] = self.replicas
        # With others a stream acknowledges or takes nothing, or throws away what followers need.
        given = {"no_ack": False, "sealed": False, "max_msgs_per_subject": _NO_LIMIT, **config}
        wanted |= {"no_ack": False, "sealed": False, "max_msgs_per_subject": _NO_LIMIT}
        differences = [
            f"{key} is {_shown(key, given.get(key))}, not {_shown(key, value)}"
            for key, value in wanted.items()
            if given.get(key) != value
        ]
        missing = set(stream_subjects(self.prefix)) - set(config.get("subjects") or ())
        differences += [f"it does not listen to {subject}" for subject in sorted(missing)]
        if differences:
            raise BrokerMismatch(
                f"Stream {self.name} is configured differently: {'; '.join(differences)}",
                hint=f"Change the settings, or the stream: nats stream edit {self.name}. "
                "eskit does not change a stream by itself.",
            )

    def _limits(self) -> dict[str, Any]:
        limits: dict[str, Any] = {}
        if self.max_age is not None:
            limits["max_age"] = _nanoseconds(self.max_age)
        if self.max_bytes is not None:
            limits["max_bytes"] = self.max_bytes or _NO_LIMIT
        if self.duplicate_window is not None:
            limits["duplicate_window"] = _nanoseconds(self.duplicate_window)
        return limits


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _shown(key: str, value: object) -> str:
    """A value of the stream's configuration as people write it."""
    if isinstance(value, bool) or not isinstance(value, int) or key == "num_replicas":
        return str(value).lower()
    if value in (0, _NO_LIMIT):
        return "unlimited"
    if key == "max_msgs_per_subject":
        return str(value)
    return format_size(value) if key == "max_bytes" else format_duration(value / 1e9)


def nats_relay(
    store: EventStore,
    connection: Connection,
    *,
    app_name: str,
    settings: StreamSettings | None = None,
    on_status: Callable[[RelayStatus], None] | None = None,
) -> Relay:
    """A relay from a store to a JetStream stream, by default `DEFAULT_NAMES`."""
    outlet = JetStreamOutlet(
        connection, settings or StreamSettings(), source=source_of(app_name, store.store_id)
    )
    return Relay(store, outlet, lease=lease_of(store), on_status=on_status)


class _Message(NamedTuple):
    """An event as it is published."""

    event: RecordedEvent
    subject: str
    headers: dict[str, str]


class _Refused(Exception):
    """The stream did not take the message that should have got the sequence `expected`.

    `number` is JetStream's own; `duplicate_of` the sequence of the message with the same id.
    """

    def __init__(
        self, reason: str, *, expected: int, number: int = 0, duplicate_of: int = 0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected
        self.number = number
        self.duplicate_of = duplicate_of

    def interruption(self) -> PublishInterrupted:
        """What to raise when nothing is wrong with the message."""
        return PublishInterrupted(f"The stream is not where it was: {self.reason}")


class JetStreamOutlet:
    """A JetStream stream that takes one store's events.

    Each publish names the sequence that must be the stream's last, and within a batch also the
    event. When one is lost, or somebody else publishes, everything behind it fails. By the sequence
    alone it would be taken again as soon as the sequence fits, and what failed would be missing.
    """

    def __init__(self, connection: Connection, settings: StreamSettings, *, source: str) -> None:
        self._connection = connection
        self._settings = settings
        self._source = source
        self._acks = _Acks(connection)
        self._created = ""
        self._largest = _NO_LIMIT
        self._doubled: set[int] = set()

    @property
    def source(self) -> str:
        """The ``ce-source`` of this store's events."""
        return self._source

    async def open(self) -> OutletState:
        """Create the stream, or check the one there is, and say how far it is."""
        state = await self._open_stream()
        self._created = state.created
        self._largest = int(state.config.get("max_msg_size", _NO_LIMIT))
        message = await last_message(self._connection, state.name) if state.messages else None
        # Another relay may have published between the two looks: the message is the later one.
        sequence = max(state.last_sequence, message.sequence if message is not None else 0)
        last, foreign = await self._find_last(state, message)
        return OutletState(
            name=state.name, created=state.created, sequence=sequence, last=last, foreign=foreign
        )

    async def check(self) -> None:
        """See Outlet."""
        state = await find_stream(self._connection, self._settings.name)
        if state is None or state.created != self._created:
            raise PublishInterrupted(f"Stream {self._settings.name} was deleted")
        self._settings.check(state.config)

    async def publish(self, events: Sequence[RecordedEvent], *, after_sequence: int) -> int:
        """Publish all without waiting for each, then wait for the acknowledgement of all."""
        messages, sequence = self._messages(events), after_sequence
        while messages:
            try:
                return await self._send(messages, sequence)
            except _Refused as refused:
                if refused.expected - 1 > sequence:  # the next time begins with what was refused
                    return refused.expected - 1
                messages = await self._without_obstacle(messages, refused)
        return sequence

    async def look(self) -> None:
        """Learn the stream's limits, if it is there, and change nothing."""
        state = await find_stream(self._connection, self._settings.name)
        if state is not None:
            self._largest = int(state.config.get("max_msg_size", _NO_LIMIT))

    def find_obstacle(self, event: RecordedEvent) -> str:
        """Why no message can carry an event, in a clause; empty if one can."""
        message = self._encode(event)
        return message if isinstance(message, str) else ""

    def _messages(self, events: Sequence[RecordedEvent]) -> list[_Message]:
        """Those of the events before the first that none can carry; EventUnpublishable at once."""
        messages: list[_Message] = []
        for event in events:
            message = self._encode(event)
            if isinstance(message, str):
                if not messages:
                    raise EventUnpublishable(event.global_position, event.stream, message)
                break
            messages.append(message)
        return messages

    def _encode(self, event: RecordedEvent) -> _Message | str:
        """The message of an event, or why there is none."""
        try:
            headers = encode_headers(event, self._source)
            subject = subject_of(event, self._settings.prefix)
        except (EskitError, TypeError, ValueError, AttributeError) as error:
            return f"its headers cannot be written: {error}"
        if event.global_position in self._doubled:
            headers[MESSAGE_ID] = f"{event.event_id}@{event.global_position}"
        if not _SUBJECT.fullmatch(subject):
            return f"{subject[:80]!r} is no NATS subject"
        return self._check_size(event, subject, headers) or _Message(event, subject, headers)

    async def _send(self, messages: Sequence[_Message], after_sequence: int) -> int:
        done = await self._acks.expect(after_sequence, len(messages))
        with self._acks.collecting(), broker_errors("Publishing"):
            before = ""
            for sequence, (event, subject, headers) in enumerate(messages, start=after_sequence):
                headers[_EXPECTED_LAST_SEQUENCE] = str(sequence)
                if before:
                    headers[_EXPECTED_LAST_ID] = before
                before = headers[MESSAGE_ID]
                await self._connection.publish(
                    subject, event.data, reply=self._acks.inbox, headers=headers
                )
                if done.done():
                    break
            return await self._acks.wait(done)

    async def _without_obstacle(
        self, messages: Sequence[_Message], refused: _Refused
    ) -> list[_Message]:
        """What to send instead of messages of which the first was refused; or why it cannot be."""
        event = messages[0].event
        if refused.duplicate_of and event.global_position not in self._doubled:
            await self._check_doubled(event, refused)
            self._doubled.add(event.global_position)
            return self._messages([message.event for message in messages])
        if refused.number in _TOO_LARGE:
            raise EventUnpublishable(event.global_position, event.stream, refused.reason)
        if refused.number in _FULL:
            name = self._settings.name
            raise BrokerMismatch(
                f"Stream {name} takes no more events: {refused.reason}",
                hint=f"Make room for it, or change its limits: nats stream edit {name}",
            )
        raise refused.interruption() from refused

    async def _check_doubled(self, event: RecordedEvent, refused: _Refused) -> None:
        """Tell of an event that has the id of an earlier one; PublishInterrupted if it is that."""
        first = await message_from(self._connection, self._settings.name, refused.duplicate_of)
        try:
            position = int(first.headers["ce-globalposition"]) if first is not None else 0
        except (KeyError, ValueError):
            position = 0
        if position == event.global_position:  # another relay has published it meanwhile
            raise refused.interruption() from refused
        _log.warning(
            "The event at position %d has the id of %s, %s: it is published nevertheless, with its "
            "position added to Nats-Msg-Id",
            event.global_position,
            f"the event at position {position}" if position else "another one",
            event.event_id,
        )

    async def _find_last(
        self, state: StreamState, message: StoredMessage | None
    ) -> tuple[LastEvent | None, str]:
        """The last event in the stream, and what is wrong with a message behind it."""
        foreign = ""
        for _ in range(_LOOK_BACK):
            if message is None:
                break
            try:
                return _published(state.name, message), foreign
            except BrokerMismatch as error:
                foreign = foreign or error.message
            before = message.sequence - 1
            if before < state.first_sequence:
                break
            message = await message_from(self._connection, state.name, before)
        return None, foreign

    async def find_shared(self, holds: Callable[[int, str], Awaitable[bool]]) -> int:
        """Search for the last event of which `holds` says that a log has it, by halves."""
        state = await self._open_stream()
        low, high, shared = state.first_sequence, state.last_sequence + 1, 0
        while low < high:
            middle = (low + high) // 2
            message = await message_from(self._connection, state.name, middle)
            event = _published(state.name, message) if message is not None else None
            if message is None or event is None or not await holds(event.position, event.event_id):
                high = middle
            else:
                low, shared = message.sequence + 1, event.position
        return shared

    async def rewind(self, position: int) -> None:
        """Rewind the subscriptions of the stream."""
        await KeyValueSubscriptions(self._connection, scope=self._settings.name).rewind(position)

    async def discard(self) -> None:
        """Delete the stream; `open` creates it anew."""
        await delete_stream(self._connection, self._settings.name)

    def _check_size(self, event: RecordedEvent, subject: str, headers: Mapping[str, str]) -> str:
        """Which limit a message is beyond: of a large one the server cuts the connection."""
        expected = (_EXPECTED_LAST_SEQUENCE, "0" * 20, _EXPECTED_LAST_ID, headers[MESSAGE_ID])
        pairs = [len(name) + len(value) + len(": \r\n") for name, value in headers.items()]
        head = sum(pairs) + sum(map(len, expected)) + 2 * len(": \r\n") + len("NATS/1.0\r\n\r\n")
        size = head + len(event.data)
        line = len(subject) + _INBOX_LENGTH + _NUMBERS_IN_LINE
        largest = self._connection.max_payload
        if line > _CONTROL_LINE:
            return f"its subject has {len(subject):,} characters, too many for NATS"
        if head > _HEADERS_AT_MOST:
            return f"its headers take {format_size(head)}, JetStream takes 64KB"
        if size > largest:
            return (
                f"its message takes {size:,} bytes, the NATS server takes {largest:,} (max_payload)"
            )
        if 0 <= self._largest < size:
            return f"its message takes {size:,} bytes, the stream takes {self._largest:,}"
        return ""

    async def _open_stream(self) -> StreamState:
        state = await find_stream(self._connection, self._settings.name)
        if state is None:
            try:
                return await create_stream(self._connection, self._settings.config())
            except JetStreamError as error:
                raise BrokerMismatch(
                    f"Stream {self._settings.name} cannot be created: {error.message}",
                    hint=_hint_for_creation(error, self._settings),
                ) from error
        self._settings.check(state.config)
        return state


def _hint_for_creation(error: JetStreamError, settings: StreamSettings) -> str:
    if error.number == SUBJECTS_OVERLAP:
        return (
            f"Another stream takes the subjects of {settings.prefix}: choose another nats_prefix. "
            "To publish into that stream, set nats_stream to its name."
        )
    return "Choose another nats_stream."


class _Acks:
    """Collects the acknowledgements of one batch at a time; they come back in order."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._batch = 0
        self._prefix = ""
        self.inbox = ""
        self._done: asyncio.Future[int] | None = None
        self._reconnects = 0
        self._next = 0
        self._target = 0

    async def expect(self, after_sequence: int, count: int) -> asyncio.Future[int]:
        """Get ready for `count` acknowledgements after a sequence."""
        if not self._prefix:
            prefix = self._connection.new_inbox()
            with broker_errors("Publishing"):
                await self._connection.subscribe(f"{prefix}.*", cb=self._on_ack)
            self._prefix = prefix
        self._batch += 1
        self._reconnects = self._connection.stats["reconnects"]
        self.inbox = f"{self._prefix}.{self._batch}"
        self._next, self._target = after_sequence + 1, after_sequence + count
        self._done = asyncio.get_running_loop().create_future()
        return self._done

    async def wait(self, done: asyncio.Future[int]) -> int:
        """The last sequence, when every acknowledgement is there.

        Gives up when none came for some seconds or the connection is lost, also when it is back
        by now: what was on its way is gone.
        """
        before, since = self._next, asyncio.get_running_loop().time()
        while not done.done():
            await asyncio.wait([done], timeout=_LOOK_EVERY)
            if self._next != before:
                before, since = self._next, asyncio.get_running_loop().time()
            elif self._is_disconnected():
                raise BrokerUnavailable("NATS went away while publishing")
            elif asyncio.get_running_loop().time() - since > _ACK_TIMEOUT:
                raise PublishInterrupted("JetStream did not acknowledge in time")
        return done.result()

    def _is_disconnected(self) -> bool:
        connection = self._connection
        return not connection.is_connected or connection.stats["reconnects"] != self._reconnects

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Let go of the batch at the end of the block, however it ends."""
        try:
            yield
        finally:
            if self._done is not None:
                self._done.cancel()
            self._done = None

    async def _on_ack(self, message: Msg) -> None:
        done = self._done
        if done is None or done.done() or message.subject != self.inbox:
            return
        if message.headers is not None:
            done.set_exception(BrokerUnavailable("No JetStream stream takes the events"))
            return
        answer = json.loads(message.data)
        if "error" in answer or answer.get("seq") != self._next or answer.get("duplicate"):
            error = answer.get("error", {})
            done.set_exception(
                _Refused(
                    error.get("description", "an unexpected sequence"),
                    expected=self._next,
                    number=error.get("err_code", 0),
                    duplicate_of=answer.get("seq", 0) if answer.get("duplicate") else 0,
                )
            )
            return
        if self._next == self._target:
            done.set_result(self._target)
        self._next += 1


def _published(stream: str, message: StoredMessage) -> LastEvent:
    try:
        return LastEvent(
            source=message.headers["ce-source"],
            position=int(message.headers["ce-globalposition"]),
            event_id=message.headers["ce-id"],
        )
    except (KeyError, ValueError) as error:
        raise BrokerMismatch(
            f"Message {message.sequence} of stream {stream} was not published by a relay",
            hint="Give this project a stream and a prefix of its own: nats_stream, nats_prefix.",
        ) from error
