"""The relay's stream as a log that is read by position, without the store it came from."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Self, TypeVar

from eskit.domain.events import EventRow, LogRow, RecordedEvent
from eskit.domain.subjects import DEFAULT_NAMES, StreamNames
from eskit.errors import BrokerUnavailable, LogBroken
from eskit.messaging.tail_nats import first_sequence
from eskit.nats.connection import Connection, close_nats, open_nats
from eskit.nats.credentials import Provider
from eskit.nats.headers import NotAnEvent, decode_event
from eskit.nats.jetstream import (
    StoredMessage,
    StreamState,
    create_reader,
    delete_reader,
    find_stream,
    message_from,
)
from eskit.nats.login import Tls
from eskit.nats.loop import LoopThread
from eskit.nats.prefetch import (
    LogPlace,
    Prefetch,
    PrefetchedEvent,
    find_gap,
    find_stranger,
    store_of,
)

Result = TypeVar("Result")
_COUNTED_WITHIN = 5.0
_REMEMBERED = 256


class JetStreamLog:
    """The events that one store's relay has published; see `eskit.projections.log.Placed`.

    `url` and `login` are asked for on the first use, and so is `settle`, which may find other names
    than `stream` and `prefix`. While NATS is away, and before the relay has
    published anything, methods raise BrokerUnavailable or RequestTimeout; where messages are gone
    that were not read, LogBroken. Thread-safe. Close it in the end.
    """

    stretch = 5_000

    def __init__(
        self,
        url: Callable[[], str],
        *,
        stream: str = DEFAULT_NAMES.stream,
        prefix: str = DEFAULT_NAMES.prefix,
        login: Callable[[], tuple[Provider | None, Tls | None]] = lambda: (None, None),
        settle: Callable[[Connection], Awaitable[StreamNames]] | None = None,
    ) -> None:
        self._url, self._login, self._settle = url, login, settle
        self._stream, self._prefix = stream, prefix
        self._loop = LoopThread(f"log of {stream}")
        self._reading = threading.Lock()
        self._connecting = asyncio.Lock()
        self._connection: Connection | None = None
        self._prefetch: Prefetch | None = None
        self._places: dict[int, LogPlace] = {}
        self._store_id = ""

    @property
    def store_id(self) -> str:
        """The store whose relay has published."""
        if not self._store_id:
            self._run(self._learn_store())
        return self._store_id

    def head_position(self) -> int:
        """The position of the last event in the stream; 0 before the first."""
        return self._run(self._head())

    def read_log_rows(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        event_types: Sequence[str] = (),
    ) -> Iterator[LogRow]:
        """The log forward, from a reader that stays open and resumes where it was."""
        with self._reading:
            rows = self._run(self._read(after, before, limit, frozenset(event_types)))
            return map(LogRow.of, rows)

    def read_all(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        backward: bool = False,
        event_types: Sequence[str] = (),
    ) -> Iterator[RecordedEvent]:
        """The log in either direction: what was just read at once, else an event at a time."""
        last = before if before is not None else self.head_position() + 1
        if not backward and (known := self._run(self._known(after, last, event_types))) is not None:
            yield from known[:limit]
            return
        at = last if backward else after
        for _ in range(limit) if limit is not None else count():
            looking = self._before(at) if backward else self._after(at, event_types)
            event = self._run(looking)
            if event is None or not after < event.global_position < last:
                return
            at = event.global_position
            yield event

    def find_event(self, global_position: int) -> RecordedEvent | None:
        """The event at a position, if the stream still has it."""
        found = self._run(self._find(global_position))
        return RecordedEvent(found[1]) if found is not None else None

    def count_events(
        self, *, after: int = 0, before: int | None = None, event_types: Sequence[str] = ()
    ) -> int:
        """How many events the stream has between two positions, as the server counts them."""
        return self._run(self._count(after, before, event_types))

    def wait(self, after: int, timeout: float) -> bool:
        """Wait for an event behind a position; the server pushes it."""
        with self._reading:
            return self._run(self._wait(after, within=timeout))

    def place_of(self, position: int) -> str:
        """The place of an event; LogBroken if the stream does not have it."""
        return str(self._run(self._place(position)))

    def find_mismatch(self, store_id: str, position: int, event_id: str, place: str) -> str:
        """Why this stream does not continue the log after an event, in a clause; empty if it does.

        An event whose place is not known, because it was read from the store, is looked for.
        """
        return self._run(self._find_mismatch(store_id, position, event_id, LogPlace.parse(place)))

    def close(self) -> None:
        """Close the connection; idempotent."""
        if not self._loop.closed:
            self._run(self._disconnect())
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._loop.run(work)

    async def _connect(self) -> Connection:
        async with self._connecting:
            if self._connection is None:
                credentials, tls = self._login()
                connection = await open_nats(
                    self._url(), name="eskit projections", credentials=credentials, tls=tls
                )
                try:
                    if self._settle is not None:
                        self._stream, self._prefix = await self._settle(connection)
                except BaseException:
                    await close_nats(connection)
                    raise
                self._connection = connection
        return self._connection

    async def _disconnect(self) -> None:
        await self._close_prefetch()
        if self._connection is not None:
            await close_nats(self._connection)

    async def _state(self) -> StreamState:
        state = await find_stream(await self._connect(), self._stream)
        if state is None:
            raise BrokerUnavailable(
                f"There is no stream {self._stream} yet",
                hint="The relay makes it: run eskit serve, or eskit relay, where the store is.",
            )
        return state

    async def _learn_store(self) -> None:
        await self._state()
        message = await message_from(await self._connect(), self._stream, 1)
        if message is None:
            raise BrokerUnavailable(
                f"Stream {self._stream} is empty, so its store cannot be identified",
                hint="Wait until the relay has published an event.",
            )
        self._store_id = store_of(message.headers)

    async def _head(self) -> int:
        state = await self._state()
        for sequence in range(state.last_sequence, state.first_sequence - 1, -1):
            message = await message_from(await self._connect(), self._stream, sequence)
            if message is not None:
                with suppress(NotAnEvent):  # the next event is reported as a gap
                    return _row(message)[0]
        # All of it was thrown away; a projection that stood at the end knows where that was.
        end = LogPlace(state.name, state.created, state.last_sequence)
        return max((at for at, place in self._places.items() if place == end), default=0)

    async def _read(
        self, after: int, before: int | None, limit: int | None, wanted: frozenset[str]
    ) -> list[EventRow]:
        end = await self._head() + 1
        if before is not None:
            end = min(end, before)
        prefetch = await self._open_prefetch(after)
        rows: list[EventRow] = []
        for index in count():
            if len(rows) == limit:
                break
            while index == len(prefetch.entries) and prefetch.end < end - 1:
                await self._fetch(prefetch)
            if index == len(prefetch.entries):
                break
            _, row = prefetch.entries[index]
            if row.global_position >= end:
                break
            if not wanted or row.event_type in wanted:
                rows.append(row)
        return rows

    async def _wait(self, after: int, *, within: float) -> bool:
        prefetch = await self._open_prefetch(after)
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while prefetch.end <= after:
                    await self._fetch(prefetch)
        return prefetch.end > after

    async def _open_prefetch(self, after: int) -> Prefetch:
        """What comes behind a position: the reader that is there if it can tell, else a new one."""
        if self._prefetch is None or not self._prefetch.covers(after):
            await self._close_prefetch()
            if not self._store_id:
                await self._learn_store()
            self._prefetch = Prefetch(
                await self._connect(),
                await self._place(after),
                position=after,
                store_id=self._store_id,
            )
        self._prefetch.drop_up_to(after)
        return self._prefetch

    async def _fetch(self, prefetch: Prefetch) -> None:
        try:
            await prefetch.fetch()
        except LogBroken:  # the next one looks again: the fault may have been fixed
            await self._close_prefetch()
            raise

    async def _close_prefetch(self) -> None:
        prefetch, self._prefetch = self._prefetch, None
        if prefetch is not None:
            await prefetch.close()

    async def _count(self, after: int, before: int | None, event_types: Sequence[str]) -> int:
        found = await self._pending(after, event_types)
        if before is not None:
            found -= await self._pending(before - 1, event_types)
        return max(found, 0)

    async def _pending(self, after: int, event_types: Sequence[str]) -> int:
        connection, sequence = await self._connect(), await self._sequence_behind(after)
        name, pending = await create_reader(
            connection,
            self._stream,
            start=sequence,
            subjects=self._subjects(event_types) if event_types else [],
            inactive=_COUNTED_WITHIN,
        )
        await delete_reader(connection, self._stream, name)
        return pending

    async def _known(
        self, after: int, before: int, event_types: Sequence[str]
    ) -> list[RecordedEvent] | None:
        """The events between two positions if all of them were just read."""
        prefetch = self._prefetch
        if prefetch is None or not (prefetch.covers(after) and prefetch.covers(before - 1)):
            return None
        return [RecordedEvent(row) for row in prefetch.between(after, before, event_types)]

    async def _after(self, position: int, event_types: Sequence[str]) -> RecordedEvent | None:
        connection, sequence = await self._connect(), await self._sequence_behind(position)
        found = [
            await message_from(connection, self._stream, sequence, subject)
            for subject in (self._subjects(event_types) if event_types else [">"])
        ]
        first = min((m for m in found if m), key=lambda m: m.sequence, default=None)
        return RecordedEvent(_row(first)) if first is not None else None

    async def _before(self, position: int) -> RecordedEvent | None:
        known = self._prefetch.find_last(position) if self._prefetch is not None else None
        if known is not None:
            return RecordedEvent(known[1])
        state = await self._state()
        sequence = await self._sequence_behind(position - 1)
        while (sequence := sequence - 1) >= max(state.first_sequence, 1):
            message = await message_from(await self._connect(), self._stream, sequence)
            if message is not None and message.sequence == sequence:
                return RecordedEvent(_row(message))
        return None

    async def _find(self, position: int) -> PrefetchedEvent | None:
        known = self._prefetch.find(position) if self._prefetch is not None else None
        if known is not None:
            return known
        sequence = await self._sequence_behind(position - 1)
        message = await message_from(await self._connect(), self._stream, sequence)
        if message is None or (row := _row(message))[0] != position:
            return None
        return message.sequence, row

    async def _place(self, position: int) -> LogPlace:
        prefetch = self._prefetch
        if position in self._places:
            return self._places[position]
        if prefetch is not None and prefetch.position == position:
            return prefetch.place
        state = await self._state()
        if not position:
            return LogPlace(state.name, state.created, 0)
        found = await self._find(position)
        if found is None:
            raise LogBroken(
                f"Stream {self._stream} does not have the event at {position:,}", position=position
            )
        return LogPlace(state.name, state.created, found[0])

    async def _sequence_behind(self, position: int) -> int:
        """The sequence at which to begin for what comes behind a position."""
        state = await self._state()
        place = self._places.get(position)
        if place is not None and place.created == state.created:
            return place.sequence + 1
        return await first_sequence(
            await self._connect(), state, lambda event: event.global_position > position
        )

    async def _find_mismatch(
        self, store_id: str, position: int, event_id: str, place: LogPlace | None
    ) -> str:
        state = await self._state()
        if place is None:
            place = await self._find_place(state, position, event_id)
            if place is None:
                return f"stream {self._stream} does not have that event"
        if problem := _find_exchange(state, place):
            return problem
        problem = await self._compare(place.sequence, store_id, position, event_id)
        if not problem:
            self._remember(position, place)
        return problem

    async def _find_place(
        self, state: StreamState, position: int, event_id: str
    ) -> LogPlace | None:
        """Where an event stands that was read from the store; sequence 0 before the first."""
        if not position:
            return LogPlace(state.name, state.created, 0)
        found = await self._find(position)
        if found is None or RecordedEvent(found[1]).event_id != event_id:
            return None
        return LogPlace(state.name, state.created, found[0])

    async def _compare(self, sequence: int, store_id: str, position: int, event_id: str) -> str:
        """Whether the message at a sequence is the event, and the next one is there."""
        connection = await self._connect()
        try:
            at = await message_from(connection, self._stream, sequence) if sequence else None
            if at is not None and at.sequence == sequence:
                found = decode_event(at.headers, at.data)
                if (found.global_position, found.event_id) != (position, event_id):
                    return (
                        f"message {sequence:,} is event {found.event_id} at "
                        f"{found.global_position:,}, it had passed event {event_id}"
                    )
            following = await message_from(connection, self._stream, sequence + 1)
            if following is None:
                last = (await self._state()).last_sequence
                return find_gap(sequence + 1, last + 1)
            _row(following)
        except NotAnEvent as error:
            return error.message
        return find_gap(sequence + 1, following.sequence) or find_stranger(
            following.headers, store_id
        )

    def _remember(self, position: int, place: LogPlace) -> None:
        self._places[position] = place
        if len(self._places) > _REMEMBERED:
            del self._places[next(iter(self._places))]

    def _subjects(self, event_types: Sequence[str]) -> list[str]:
        return [
            f"{scope}{self._prefix}.*.{event_type}"
            for event_type in event_types
            for scope in ("", "tenants.*.")
        ]


def _find_exchange(state: StreamState, place: LogPlace) -> str:
    """Whether the stream is not the one in which a place is, or has lost its end; in a clause."""
    if place.stream != state.name:
        return f"it followed stream {place.stream}, this is stream {state.name}"
    if place.created != state.created:
        return f"stream {state.name} was recreated at {state.created}"
    if place.sequence > state.last_sequence:
        return (
            f"stream {state.name} ends at message {state.last_sequence:,}, it had passed "
            f"{place.sequence:,}"
        )
    return ""


def _row(message: StoredMessage) -> EventRow:
    return decode_event(message.headers, message.data).row
