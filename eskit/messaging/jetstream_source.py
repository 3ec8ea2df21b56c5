"""The events of a relay's stream as what subscriptions follow."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Literal

from eskit.domain.events import RecordedEvent
from eskit.errors import BrokerUnavailable, LogBroken
from eskit.messaging.subscription import SubscriptionState
from eskit.messaging.tail import TailRequest
from eskit.messaging.tail_nats import first_sequence, last_position, tail_nats
from eskit.nats.connection import Connection
from eskit.nats.headers import decode_event, filter_subjects
from eskit.nats.jetstream import create_reader, delete_reader, find_stream, message_from

_LOOK_EVERY = 10.0
_COUNTED_WITHIN = 5.0


class JetStreamSource:
    """Follows the relay's stream; for processes without the store."""

    def __init__(self, connection: Connection, *, stream: str, prefix: str) -> None:
        self._connection = connection
        self._stream, self._prefix = stream, prefix
        self._looked = -math.inf

    async def start_position(self, start: Literal["first", "new"] | int | datetime) -> int | None:
        """Behind which position a first run begins; of a time only the tail knows."""
        if isinstance(start, datetime):
            return None
        if start != "new":
            return start if isinstance(start, int) else 0
        return await self.head()

    async def check(self, name: str, progress: SubscriptionState) -> str:  # noqa: ARG002 - the stream says it all
        """Raise LogBroken when events are gone that were not handled."""
        if progress.position:
            await self._first_behind(progress.position)
        return ""

    def follow(self, request: TailRequest) -> AsyncGenerator[RecordedEvent, None]:
        """From JetStream, over restarts."""
        return tail_nats(self._connection, request, stream=self._stream, prefix=self._prefix)

    async def read_again(
        self,
        position: int,
        *,
        up_to: int,
        limit: int,
        wanted: Callable[[RecordedEvent], bool] = lambda _: True,
    ) -> Sequence[RecordedEvent]:
        """The event at a position and those behind it in its stream."""
        state = await find_stream(self._connection, self._stream)
        if state is None:
            raise BrokerUnavailable(f"There is no stream {self._stream} yet")
        sequence = await first_sequence(
            self._connection, state, lambda event: event.global_position >= position
        )
        message = await message_from(self._connection, self._stream, sequence)
        first = decode_event(message.headers, message.data) if message is not None else None
        if first is None or first.global_position != position:
            return []
        request = TailRequest(
            after=position - 1, follow=False, stream=first.stream, tenants=(first.tenant,)
        )
        found: list[RecordedEvent] = []
        async with aclosing(self.follow(request)) as events:
            async for event in events:
                if event.global_position > up_to or len(found) == limit:
                    break
                if wanted(event):
                    found.append(event)
        return found

    async def advance(self, request: TailRequest, position: int) -> tuple[int, str]:
        """Up to which position nothing that is wanted lies behind this one; looks now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._looked < _LOOK_EVERY:
            return position, ""
        self._looked = now
        state = await find_stream(self._connection, self._stream)
        if state is None or not state.messages:
            return position, ""
        sequence = await self._first_behind(position)
        for subject in self._subjects(request) or (">",):
            message = await message_from(self._connection, self._stream, sequence, subject)
            if message is not None and message.sequence <= state.last_sequence:
                return position, ""
        last = await message_from(self._connection, self._stream, state.last_sequence)
        if last is None or last.sequence != state.last_sequence:
            return position, ""
        event = decode_event(last.headers, last.data)
        return max(position, event.global_position), event.event_id

    async def _first_behind(self, position: int) -> int:
        """The sequence of the first event behind a position; LogBroken if some are gone there."""
        state = await find_stream(self._connection, self._stream)
        if state is None:
            return 1
        sequence = await first_sequence(
            self._connection, state, lambda event: event.global_position > position
        )
        if 1 < sequence == state.first_sequence and state.messages:
            message = await message_from(self._connection, self._stream, sequence)
            first = decode_event(message.headers, message.data) if message is not None else None
            if first is not None and first.global_position > position + 1:
                raise LogBroken(
                    f"Stream {self._stream} begins at {first.global_position:,}: events after "
                    f"{position:,} are gone, and were not handled",
                    position=position,
                )
        return sequence

    async def head(self) -> int:
        """The position of the stream's last event; 0 without one."""
        state = await find_stream(self._connection, self._stream)
        return 0 if state is None else await last_position(self._connection, state)

    async def count(self, request: TailRequest, after: int) -> int:
        """How many events of full types, aggregates and tenants lie behind a position."""
        state = await find_stream(self._connection, self._stream)
        if state is None:
            return 0
        sequence = await first_sequence(
            self._connection, state, lambda event: event.global_position > after
        )
        name, pending = await create_reader(
            self._connection,
            self._stream,
            start=sequence,
            subjects=self._subjects(request),
            inactive=_COUNTED_WITHIN,
        )
        await delete_reader(self._connection, self._stream, name)
        return pending

    def _subjects(self, request: TailRequest) -> list[str]:
        return filter_subjects(
            self._prefix,
            aggregates=request.categories,
            event_types=request.full_types,
            tenants=request.tenants,
        )
