"""The event bus: runs subscriptions over a source of events.

The source is the log itself or JetStream; the algorithm is the same. Publishing is not the bus's
business: what is appended to the store is published, by nobody else than the relay.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from itertools import islice, takewhile
from typing import Literal

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import RecordedEvent
from eskit.errors import CheckpointMismatch, PlaceLost, SubscriptionTaken
from eskit.messaging.dead_letters import DeadLetters
from eskit.messaging.subscriber import EventSource, Subscriber
from eskit.messaging.subscription import (
    EventHandler,
    MemorySubscriptions,
    Subscription,
    Subscriptions,
    SubscriptionState,
)
from eskit.messaging.tail import TailRequest, position_before, tail_store
from eskit.store.eventstore import EventStore

_LOOK_AT = 1000
"""How many events that are not wanted are passed at once."""


class StoreSource:
    """Follows the log itself: whoever has the store takes an event from there, not from a message.

    Every look is made in a thread.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def start_position(self, start: Literal["first", "new"] | int | datetime) -> int | None:
        """Behind which position a first run begins."""
        return await asyncio.to_thread(start_position, self._store, start)

    async def check(self, name: str, progress: SubscriptionState) -> str:
        """The store's id; CheckpointMismatch when the progress is that of another log."""
        await asyncio.to_thread(check_state, self._store, name, progress)
        return self._store.store_id

    def follow(self, request: TailRequest) -> AsyncGenerator[RecordedEvent, None]:
        """Straight from the store."""
        return tail_store(self._store, request)

    async def read_again(
        self,
        position: int,
        *,
        up_to: int,
        limit: int,
        wanted: Callable[[RecordedEvent], bool] = lambda _: True,
    ) -> Sequence[RecordedEvent]:
        """The event at a position and those behind it in its stream."""

        def read() -> list[RecordedEvent]:
            first = self._store.find_event(position)
            if first is None:
                return []
            events = takewhile(
                lambda event: event.global_position <= up_to,
                self._store.for_tenant(first.tenant).read_stream(
                    first.stream, after=first.version - 1
                ),
            )
            return list(islice(filter(wanted, events), limit))

        return await asyncio.to_thread(read)

    async def advance(self, request: TailRequest, position: int) -> tuple[int, str]:
        """Up to which position nothing that is wanted lies behind this one, and that event's id."""
        return await asyncio.to_thread(find_next_wanted, self._store, request, position)


def start_position(store: EventStore, start: Literal["first", "new"] | int | datetime) -> int:
    """Behind which position of the log a first run begins."""
    if isinstance(start, datetime):
        return position_before(store, start, store.head_position())
    if start == "new":
        return store.head_position()
    return start if isinstance(start, int) else 0


def find_next_wanted(store: EventStore, request: TailRequest, position: int) -> tuple[int, str]:
    """The last position, and its event's id, before which nothing behind `position` is wanted."""
    head = store.head_position()
    if head <= position:
        return position, ""
    page = list(
        islice(
            store.read_all(
                after=position,
                before=head + 1,
                categories=request.categories,
                event_types=request.full_types,
                tenants=request.tenants,
            ),
            _LOOK_AT,
        )
    )
    if any(map(request.matches, page)):
        return position, ""
    last = page[-1] if len(page) == _LOOK_AT else store.find_event(head)
    return (last.global_position, last.event_id) if last is not None else (position, "")


def check_state(store: EventStore, name: str, progress: SubscriptionState) -> None:
    """Raise CheckpointMismatch when the progress is that of another log, or of one since cut.

    A copy has the same events under another id, and the same progress: it resumes from there.
    """
    position = progress.position
    if not position or not progress.store_id:
        return
    head = store.head_position()
    same = progress.store_id == store.store_id
    if position > head:
        problem = f"the log ends at {head:,}, it had been read to {position:,}"
    elif progress.event_id and _id_at(store, position) != progress.event_id:
        problem = f"another event is at {position:,} than the one that was read there"
    elif not progress.event_id and not same:
        problem = f"it was the log of store {progress.store_id}, not of {store.store_id}"
    else:
        return
    raise CheckpointMismatch(
        f"The log is not the one that {name} has followed: {problem}",
        hint=f"Set where it resumes: eskit reaction reset {name} --after POSITION|now",
    )


def _id_at(store: EventStore, position: int) -> str:
    found = store.find_event(position)
    return found.event_id if found is not None else ""


class EventBus:
    """Runs subscriptions. `subscribe` starts one; `stop` on its result drains it.

    `dead_letters` are the events that they could not handle.
    """

    def __init__(
        self, source: EventSource, subscriptions: Subscriptions, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.dead_letters = DeadLetters(subscriptions)
        self._source = source
        self._subscriptions = subscriptions
        self._clock = clock

    async def subscribe(self, subscription: Subscription, handler: EventHandler) -> Subscriber:
        """Start handling, in the background, as soon as no other process does.

        The handler may be called more than once for an event, never at the same time for two
        events of one stream.
        """
        subscriber = Subscriber(
            subscription, handler, self._source, self._subscriptions, clock=self._clock
        )
        subscriber.start()
        return subscriber

    async def pause(self, name: str, *, reason: str, by: str = "") -> None:
        """Keep a subscription where it is until it is resumed, also over restarts.

        A process that runs it finishes what it is handling. Raises InvalidArgument without a
        reason, and for one that is paused.
        """
        await self._subscriptions.pause(name, reason=reason, by=by, clock=self._clock)

    async def resume(self, name: str, *, reason: str, by: str = "") -> None:
        """Resume a paused subscription, in whatever process runs it.

        Raises InvalidArgument without a reason, NotFound if it is not paused.
        """
        await self._subscriptions.resume(name, reason=reason, by=by, clock=self._clock)

    async def reset(self, name: str, *, after: int) -> None:
        """Let a subscription resume after another position, also one that runs.

        Every event behind it is handled, also one that was before.
        """
        while True:
            try:
                progress, revision = await self._subscriptions.load(name)
            except PlaceLost as error:
                progress, revision = SubscriptionState(), error.revision
            place = SubscriptionState(position=after, follows=progress.follows)
            with contextlib.suppress(SubscriptionTaken):  # its owner has saved meanwhile
                await self._subscriptions.save(name, place, revision=revision)
                return


def memory_bus(store: EventStore) -> EventBus:
    """A bus within this process: events straight from the store, progress in memory."""
    return EventBus(StoreSource(store), MemorySubscriptions())
