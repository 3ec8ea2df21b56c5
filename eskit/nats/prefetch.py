"""A part of the relay's stream as an open reader has delivered it so far.

Every message is read, wanted or not, because only then a missing one shows: a relay leaves no
gaps between sequences.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from eskit.domain.events import EventRow
from eskit.errors import BrokerUnavailable, LogBroken
from eskit.nats.connection import Connection
from eskit.nats.headers import NotAnEvent, decode_event
from eskit.nats.jetstream import find_stream
from eskit.nats.reader import StreamReader

if TYPE_CHECKING:
    from eskit.nats.reader import Delivery

PrefetchedEvent: TypeAlias = tuple[int, EventRow]
"""The sequence of a message, and its event."""


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a message stands: in which stream, made when, at which sequence."""

    stream: str
    created: str
    sequence: int

    @classmethod
    def parse(cls, text: str) -> LogPlace | None:
        """The place that a checkpoint keeps, if it has one."""
        if not text:
            return None
        stream, created, sequence = text.split(" ")
        return cls(stream, created, int(sequence))

    def __str__(self) -> str:
        return f"{self.stream} {self.created} {self.sequence}"


class Prefetch:
    """The events behind a place, read ahead.

    `position` is that of the event at the place, `end` that of the last event read.
    """

    def __init__(
        self, connection: Connection, place: LogPlace, *, position: int, store_id: str
    ) -> None:
        self.place = place
        self.position = self.end = position
        self.entries: list[PrefetchedEvent] = []
        self._connection = connection
        self._store_id = store_id
        self._sequence = place.sequence
        self._reader: StreamReader | None = None
        self._broken: LogBroken | None = None

    def covers(self, position: int) -> bool:
        """Whether it knows what comes behind a position."""
        return self.position <= position <= self.end

    def drop_up_to(self, position: int) -> None:
        """Drop what is no longer needed."""
        passed = bisect_right(self.entries, position, key=_position)
        if passed:
            sequence, row = self.entries[passed - 1]
            self.place = LogPlace(self.place.stream, self.place.created, sequence)
            self.position = row.global_position
            del self.entries[:passed]

    def find(self, position: int) -> PrefetchedEvent | None:
        """The event at a position, if it is among those read."""
        index = bisect_left(self.entries, position, key=_position)
        if index < len(self.entries) and _position(self.entries[index]) == position:
            return self.entries[index]
        return None

    def between(self, after: int, before: int, event_types: Sequence[str]) -> list[EventRow]:
        """The events read between two positions; of all types unless some are named."""
        first = bisect_right(self.entries, after, key=_position)
        last = bisect_left(self.entries, before, key=_position)
        return [
            row
            for _, row in self.entries[first:last]
            if not event_types or row.event_type in event_types
        ]

    def find_last(self, before: int) -> PrefetchedEvent | None:
        """The last event before a position, if it is among those read."""
        index = bisect_left(self.entries, before, key=_position)
        return self.entries[index - 1] if index and before <= self.end + 1 else None

    async def fetch(self) -> None:
        """Add what comes next, waiting for ever.

        Raises LogBroken if it is not what should come next, and BrokerUnavailable.
        """
        if self._broken is not None:
            raise self._broken
        try:
            deliveries = await self._read()
        except BrokerUnavailable:  # a server that was restarted, or a reader unused for long
            await self.close()
            deliveries = await self._read()
        for delivery in deliveries:
            self._broken = self._take(delivery)
            if self._broken is not None:
                break

    async def close(self) -> None:
        """Let go of the reader; idempotent."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.__aexit__(None, None, None)

    async def _read(self) -> list[Delivery]:
        if self._reader is None:
            await self._check_stream()
            self._reader = StreamReader(
                self._connection, self.place.stream, start=self._sequence + 1
            )
            try:
                await self._reader.__aenter__()
            except BaseException:  # given up in the middle, as `wait` does when its time is over
                await self.close()
                raise
        return await self._reader.read()

    async def _check_stream(self) -> None:
        state = await find_stream(self._connection, self.place.stream)
        if state is None:
            raise BrokerUnavailable(f"There is no stream {self.place.stream} any more")
        if state.created != self.place.created:
            raise self._break(f"stream {self.place.stream} was recreated")
        if state.last_sequence < self._sequence:
            raise self._break(
                f"stream {state.name} ends at message {state.last_sequence:,}, it had been read "
                f"to {self._sequence:,}"
            )

    def _take(self, delivery: Delivery) -> LogBroken | None:
        """Add one message, or say why it does not belong here."""
        try:
            event = decode_event(delivery.message.headers, delivery.message.data)
        except NotAnEvent as error:
            return self._break(f"message {delivery.sequence:,}: {error.message}")
        problem = find_gap(self._sequence + 1, delivery.sequence) or find_stranger(
            delivery.message.headers or {}, self._store_id
        )
        if problem:
            return self._break(problem)
        self._sequence = delivery.sequence
        if event.global_position > self.end:  # else it was published once more, and is passed
            self.end = event.global_position
            self.entries.append((delivery.sequence, event.row))
        return None

    def _break(self, problem: str) -> LogBroken:
        return LogBroken(
            f"Stream {self.place.stream} does not continue the log after {self.end:,}: {problem}",
            position=self.end,
        )


def find_gap(expected: int, found: int) -> str:
    """What is missing when another message comes than the one expected, in a clause."""
    if found == expected:
        return ""
    if found == expected + 1:
        return f"message {expected:,} is gone"
    return f"messages {expected:,} to {found - 1:,} are gone"


def find_stranger(headers: Mapping[str, str], store_id: str) -> str:
    """Whose event a message carries if not this store's, in a clause."""
    found = store_of(headers)
    return "" if found == store_id else f"it has events of store {found}, not of store {store_id}"


def store_of(headers: Mapping[str, str]) -> str:
    """The id of the store whose relay has published a message; empty if none has."""
    return headers.get("ce-source", "").rpartition("/")[2]


def _position(entry: PrefetchedEvent) -> int:
    return entry[1][0]
