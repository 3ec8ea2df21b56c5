"""Following events from JetStream, over restarts of the server and even the loss of its disk."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from eskit.domain.events import RecordedEvent
from eskit.domain.subjects import DEFAULT_NAMES
from eskit.errors import BrokerUnavailable, EskitError, RequestTimeout
from eskit.messaging.tail import TailRequest
from eskit.nats.connection import Connection
from eskit.nats.headers import NotAnEvent, decode_event, filter_subjects
from eskit.nats.jetstream import (
    StoredMessage,
    StreamState,
    find_stream,
    message_from,
)
from eskit.nats.reader import Delivery, StreamReader

_log = logging.getLogger("eskit.tail")
_RETRY_AFTER = 0.2
_BOUNDED_RETRIES = 10
_FIRST_WINDOW = 64
_WIDER = 8


@dataclass(slots=True)
class _Cursor:
    """What was seen last: a sequence in one incarnation of the stream, a position in the log."""

    created: str
    sequence: int
    position: int
    end: int | None
    """The sequence to stop at; None to follow for ever."""


async def tail_nats(
    connection: Connection,
    request: TailRequest,
    *,
    stream: str = DEFAULT_NAMES.stream,
    prefix: str = DEFAULT_NAMES.prefix,
) -> AsyncGenerator[RecordedEvent, None]:
    """The events of `tail_nats_batches`, one at a time."""
    async with aclosing(
        tail_nats_batches(connection, request, stream=stream, prefix=prefix)
    ) as batches:
        async for batch in batches:
            for event in batch:
                yield event


async def tail_nats_batches(
    connection: Connection,
    request: TailRequest,
    *,
    stream: str = DEFAULT_NAMES.stream,
    prefix: str = DEFAULT_NAMES.prefix,
    on_wait: Callable[[EskitError | None], None] | None = None,
) -> AsyncGenerator[Sequence[RecordedEvent], None]:
    """The events that `request` asks for, from a JetStream stream that a relay fills.

    A batch is what has arrived when it is asked for: there is none to wait for another event.

    With `follow` it waits for a stream that does not exist yet, and for a server that is away.
    `on_wait` is called with what it waits for, and when that is over. Without `follow` it ends at
    the stream's present last message, and a server that is away, or interrupts the tail again and
    again, is BrokerUnavailable. A message that is no event raises
    NotAnEvent.
    """
    subjects = filter_subjects(
        prefix,
        aggregates=request.categories,
        event_types=request.full_types,
        tenants=request.tenants,
    )
    cursor: _Cursor | None = None
    patience = _Patience(request, on_wait)
    while cursor is None or cursor.end is None or cursor.sequence < cursor.end:
        try:
            if cursor is None:
                cursor, events = await _begin(connection, stream, request, subjects)
                patience.is_over()
                yield events
                continue
            async for events in _sitting(connection, stream, cursor, subjects, request.is_over):
                patience.is_over()
                yield request.select(events)
                if events and request.ends_before(events[-1]):
                    return
        except (BrokerUnavailable, RequestTimeout) as error:
            await patience.wait(error, begun=cursor is not None)
        else:
            if not request.follow:
                return
        if request.is_over():
            return


class _Patience:
    """How often a broken connection is waited for: for ever by who follows, else when begun."""

    def __init__(
        self, request: TailRequest, on_wait: Callable[[EskitError | None], None] | None
    ) -> None:
        self._follow = request.follow
        self._on_wait = on_wait
        self._waits = False
        self._left = math.inf if request.follow else _BOUNDED_RETRIES

    def is_over(self) -> None:
        """Report that it has resumed, if it has waited."""
        if self._waits and self._on_wait is not None:
            self._on_wait(None)
        self._waits = False

    async def wait(self, error: EskitError, *, begun: bool) -> None:
        """Pause before the next try, or raise `error`."""
        self._left -= 1
        if self._left < 0 or not (begun or self._follow):
            raise error
        if not self._waits and self._on_wait is not None:
            self._on_wait(error)
        self._waits = True
        _log.info("Waiting for NATS: %s", error)
        await asyncio.sleep(_RETRY_AFTER)


async def _begin(
    connection: Connection, stream: str, request: TailRequest, subjects: Sequence[str]
) -> tuple[_Cursor, list[RecordedEvent]]:
    """Where to continue, and the events to give before that."""
    state = await find_stream(connection, stream)
    if state is None:
        return _Cursor("", 0, request.after or 0, None if request.follow else 0), []
    end = None if request.follow else state.last_sequence
    if request.after is None and request.since is None and not isinstance(request.start, str):
        position = await last_position(connection, state)
        events = await _last_events(connection, state, request, subjects)
        return _Cursor(state.created, state.last_sequence, position, end), events
    sequence, position = await _find_start(connection, state, request)
    return _Cursor(state.created, sequence, position, end), []


async def _sitting(
    connection: Connection,
    stream: str,
    cursor: _Cursor,
    subjects: Sequence[str],
    is_over: Callable[[], bool],
) -> AsyncGenerator[list[RecordedEvent], None]:
    """Events behind the cursor, which moves along, up to its end, or to the last when it is over.

    Raises BrokerUnavailable if the reader breaks.
    """
    end = cursor.end
    state = await find_stream(connection, stream)
    if state is None:
        raise BrokerUnavailable(f"There is no stream {stream} yet")
    if state.created != cursor.created or state.last_sequence < cursor.sequence:
        cursor.created, cursor.sequence = state.created, 0
    async with StreamReader(
        connection, stream, start=cursor.sequence + 1, subjects=subjects
    ) as reader:
        if not reader.pending and await _is_at_end(connection, stream, cursor, subjects):
            return
        while deliveries := await reader.read(is_over=is_over):
            events, problem = _decode(deliveries, cursor)
            yield events
            if problem is not None:
                raise problem
            if end is not None and deliveries[-1].sequence >= end:
                return
            if not deliveries[-1].pending and await _is_at_end(
                connection, stream, cursor, subjects
            ):
                return


def _decode(
    deliveries: Sequence[Delivery], cursor: _Cursor
) -> tuple[list[RecordedEvent], NotAnEvent | None]:
    """The events of messages up to the cursor's end, and why the one behind them is none.

    Moves the cursor. An event that was published once more is passed over.
    """
    events: list[RecordedEvent] = []
    end, position = cursor.end, cursor.position
    try:
        for sequence, _, message in deliveries:
            if end is not None and sequence > end:
                break
            event = decode_event(message.headers, message.data)
            cursor.sequence = sequence
            if event.global_position > position:
                cursor.position = position = event.global_position
                events.append(event)
    except NotAnEvent as error:
        return events, error
    return events, None


async def _is_at_end(
    connection: Connection, stream: str, cursor: _Cursor, subjects: Sequence[str]
) -> bool:
    """Whether the stream has no message of these subjects between the cursor and its end.

    Its leader is asked: a reader may be on a node of the cluster that has been away, and takes
    what that node has for all there is.
    """
    if cursor.end is None:
        return False
    for subject in subjects or (">",):
        message = await message_from(connection, stream, cursor.sequence + 1, subject)
        if message is not None and message.sequence <= cursor.end:
            return False
    return True


async def _find_start(
    connection: Connection, state: StreamState, request: TailRequest
) -> tuple[int, int]:
    """The sequence and the position before the first event wanted."""
    after, since = request.after, request.since
    if after is not None:
        sequence = await first_sequence(
            connection, state, lambda event: event.global_position > after
        )
        return sequence - 1, after
    if since is not None:
        sequence = await first_sequence(connection, state, lambda event: event.recorded_at >= since)
        before = await message_from(connection, state.name, sequence - 1)
        known = before is not None and before.sequence < sequence
        return sequence - 1, _position(before) if known else 0
    if request.start == "new":
        return state.last_sequence, await last_position(connection, state)
    return 0, 0


async def first_sequence(
    connection: Connection, state: StreamState, wanted: Callable[[RecordedEvent], bool]
) -> int:
    """The sequence of the first event for which `wanted` holds, as it does for all behind it."""
    low, high = max(state.first_sequence, 1), state.last_sequence + 1
    while low < high:
        middle = (low + high) // 2
        message = await message_from(connection, state.name, middle)
        if message is None or wanted(decode_event(message.headers, message.data)):
            high = middle
        else:
            low = message.sequence + 1
    return low


async def last_position(connection: Connection, state: StreamState) -> int:
    """The position of the last message that `state` knows of, whatever has come since."""
    if not state.messages:
        return 0
    return _position(await message_from(connection, state.name, state.last_sequence))


def _position(message: StoredMessage | None) -> int:
    return decode_event(message.headers, message.data).global_position if message else 0


async def _last_events(
    connection: Connection, state: StreamState, request: TailRequest, subjects: Sequence[str]
) -> list[RecordedEvent]:
    """The last matching events, oldest first, looking at ever more of the stream's end."""
    wanted = int(request.start)
    window = max(wanted, _FIRST_WINDOW)
    while wanted and state.messages:
        start = max(state.first_sequence, state.last_sequence - window + 1)
        cursor = _Cursor(state.created, start - 1, 0, state.last_sequence)
        found = [
            event
            async for batch in _sitting(connection, state.name, cursor, subjects, request.is_over)
            for event in batch
            if request.matches(event) and not request.ends_before(event)
        ]
        if len(found) >= wanted or start <= state.first_sequence:
            return found[-wanted:]
        window *= _WIDER
    return []
