"""Publishing events to JetStream for the relay."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence

from eskit.domain.events import RecordedEvent
from eskit.errors import EskitError, MessagingError
from eskit.messaging.publisher import EventUnpublishable, LastEvent, PublishedLog
from eskit.messaging.relay import Relay, RelayStatus
from eskit.messaging.stream_settings import StreamSettings
from eskit.messaging.subscriptions_nats import KeyValueSubscriptions
from eskit.nats.connection import Connection
from eskit.nats.headers import MESSAGE_ID, encode_headers, source_of, subject_of
from eskit.nats.jetstream import (
    SUBJECTS_OVERLAP,
    JetStreamError,
    StoredMessage,
    StreamState,
    create_stream,
    delete_stream,
    find_stream,
    last_message,
    message_from,
)
from eskit.nats.publishing import (
    OrderedPublisher,
    OutgoingMessage,
    PublishInterrupted,
    PublishRefused,
    expect_last,
)
from eskit.store.eventstore import EventStore
from eskit.text.quantities import format_size

_log = logging.getLogger("eskit.relay")
_INBOX_AND_NUMBERS = 96
_LONGEST_SUBJECT = 4096 - _INBOX_AND_NUMBERS
"""Of the longest line that a server takes by default; it does not tell clients another limit."""
_HEADERS_AT_MOST = 65_535
_FULL = frozenset({10023, 10028, 10047, 10077})
"""JetStream's numbers for having no room, or a stream that takes no more."""
_TOO_LARGE = frozenset({10054, 10097})
"""JetStream's numbers for a message, or headers, beyond its limits."""
_SUBJECT = re.compile(r"[^\s.*>\x00]+(\.[^\s.*>\x00]+)*")
_LOOK_BACK = 100
_NO_LIMIT = -1


def nats_relay(
    store: EventStore,
    connection: Connection,
    *,
    app_name: str,
    settings: StreamSettings | None = None,
    on_status: Callable[[RelayStatus], None] | None = None,
) -> Relay:
    """A relay from a store to a JetStream stream, by default `DEFAULT_NAMES`."""
    publisher = JetStreamPublisher(
        connection, settings or StreamSettings(), source=source_of(app_name, store.store_id)
    )
    return Relay(store, publisher, lock=store.lock("relay"), on_status=on_status)


class JetStreamPublisher:
    """Publishes one store's events to a JetStream stream; see `Publisher`."""

    def __init__(self, connection: Connection, settings: StreamSettings, *, source: str) -> None:
        self._connection = connection
        self._settings = settings
        self._source = source
        self._ordered = OrderedPublisher(connection)
        self._created = ""
        self._largest = _NO_LIMIT
        self._end = 0
        self._doubled: set[int] = set()

    @property
    def source(self) -> str:
        """The ``ce-source`` of this store's events."""
        return self._source

    async def open(self) -> PublishedLog:
        """Create the stream, or check the one there is, and say how far it is."""
        state = await self._open_stream()
        self._created = state.created
        self._learn(state)
        message = await last_message(self._connection, state.name) if state.messages else None
        # Another relay may have published between the two looks: the message is the later one.
        sequence = max(state.last_sequence, message.sequence if message is not None else 0)
        last, foreign = await self._find_last(state, message)
        return PublishedLog(
            name=state.name, created=state.created, sequence=sequence, last=last, foreign=foreign
        )

    async def check(self) -> None:
        """See Publisher."""
        state = await find_stream(self._connection, self._settings.name)
        if state is None or state.created != self._created:
            raise PublishInterrupted(f"Stream {self._settings.name} was deleted")
        self._settings.check(state.config)

    async def publish(self, events: Sequence[RecordedEvent], *, after_sequence: int) -> int:
        """Publish all without waiting for each, then wait for the acknowledgement of all."""
        while events:
            try:
                messages = self._messages(events, after_sequence)
                return await self._ordered.publish(messages, after_sequence=after_sequence)
            except PublishRefused as refused:
                done = refused.expected - 1
                if done > after_sequence:  # the next time begins with what was refused
                    return done
                await self._remove_obstacle(events[0], refused)
        return after_sequence

    async def look(self) -> None:
        """Learn the stream's limits and end, if it is there, and change nothing."""
        state = await find_stream(self._connection, self._settings.name)
        if state is not None:
            self._learn(state)

    def find_obstacle(self, event: RecordedEvent) -> str:
        """Why no message can carry an event, in a clause; empty if one can."""
        message = self._encode(event, after_sequence=self._end)
        return message if isinstance(message, str) else ""

    def _messages(
        self, events: Sequence[RecordedEvent], after_sequence: int
    ) -> Iterator[OutgoingMessage]:
        """Those of the events before the first that none can carry; EventUnpublishable at once.

        The first of a batch needs one header less: an event that is too large for another place
        begins the next.
        """
        behind = ""
        for sequence, event in enumerate(events, start=after_sequence):
            message = self._encode(event, after_sequence=sequence, behind=behind)
            if isinstance(message, str):
                if not behind:
                    raise EventUnpublishable(event.global_position, event.stream, message)
                return
            behind = message.headers[MESSAGE_ID]
            yield message

    def _encode(
        self, event: RecordedEvent, *, after_sequence: int, behind: str = ""
    ) -> OutgoingMessage | str:
        """The message of an event, or why there is none; `behind` is the id of the one before."""
        try:
            headers = encode_headers(event, self._source)
            subject = subject_of(event, self._settings.prefix)
        except (EskitError, TypeError, ValueError, AttributeError) as error:
            return f"its headers cannot be written: {error}"
        if event.global_position in self._doubled:
            headers[MESSAGE_ID] = f"{event.event_id}@{event.global_position}"
        if not _is_subject(subject):
            return f"{subject[:80]!r} is no NATS subject"
        expect_last(headers, after_sequence, behind)
        message = OutgoingMessage(subject, headers, event.data)
        return self._check_size(message) or message

    async def _remove_obstacle(self, event: RecordedEvent, refused: PublishRefused) -> None:
        """See to it that an event which was refused can be published; or raise why it cannot."""
        if refused.duplicate_of and event.global_position not in self._doubled:
            await self._check_doubled(event, refused)
            self._doubled.add(event.global_position)
            return
        if refused.number in _TOO_LARGE:
            raise EventUnpublishable(event.global_position, event.stream, refused.reason)
        if refused.number in _FULL:
            name = self._settings.name
            raise MessagingError(
                f"Stream {name} takes no more events: {refused.reason}",
                code="BROKER_MISMATCH",
                hint=f"Make room for it, or change its limits: nats stream edit {name}",
            )
        raise refused.interruption() from refused

    async def _check_doubled(self, event: RecordedEvent, refused: PublishRefused) -> None:
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
            except MessagingError as error:
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
        """Delete the stream; `open` creates it again."""
        await delete_stream(self._connection, self._settings.name)

    def _check_size(self, message: OutgoingMessage) -> str:
        """Which limit a message is beyond: of a large one the server cuts the connection."""
        head = message.header_size
        size = head + len(message.data)
        if len(message.subject) > _LONGEST_SUBJECT:
            return f"its subject has {len(message.subject):,} characters, too many for NATS"
        if head > _HEADERS_AT_MOST:
            return f"its headers take {format_size(head)}, JetStream takes 64KB"
        if size > (largest := self._connection.max_payload):
            return (
                f"its message takes {size:,} bytes, the NATS server takes {largest:,} (max_payload)"
            )
        if 0 <= self._largest < size:
            return f"its message takes {size:,} bytes, the stream takes {self._largest:,}"
        return ""

    def _learn(self, state: StreamState) -> None:
        self._largest = int(state.config.get("max_msg_size", _NO_LIMIT))
        self._end = state.last_sequence

    async def _open_stream(self) -> StreamState:
        state = await find_stream(self._connection, self._settings.name)
        if state is None:
            try:
                return await create_stream(self._connection, self._settings.config())
            except JetStreamError as error:
                raise MessagingError(
                    f"Stream {self._settings.name} cannot be created: {error.message}",
                    code="BROKER_MISMATCH",
                    hint=_hint_for_creation(error, self._settings),
                ) from error
        self._settings.check(state.config)
        return state


@functools.lru_cache(maxsize=1024)
def _is_subject(text: str) -> bool:
    return _SUBJECT.fullmatch(text) is not None


def _hint_for_creation(error: JetStreamError, settings: StreamSettings) -> str:
    if error.number == SUBJECTS_OVERLAP:
        return (
            f"Another stream takes the subjects of {settings.prefix}: choose another nats_prefix. "
            "To publish into that stream, set nats_stream to its name."
        )
    return "Choose another nats_stream."


def _published(stream: str, message: StoredMessage) -> LastEvent:
    try:
        return LastEvent(
            source=message.headers["ce-source"],
            position=int(message.headers["ce-globalposition"]),
            event_id=message.headers["ce-id"],
        )
    except (KeyError, ValueError) as error:
        raise MessagingError(
            f"Message {message.sequence} of stream {stream} was not published by a relay",
            code="BROKER_MISMATCH",
            hint="Give this project a stream and a prefix of its own: nats_stream, nats_prefix.",
        ) from error
