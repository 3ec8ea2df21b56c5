"""The event bus: runs subscriptions over a source of events.

The source is the log itself or JetStream; the algorithm is the same. Publishing is not the bus's
business: what is appended to the store is published, by nobody else than the relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from eskit.domain.events import RecordedEvent
from eskit.messaging.deadletters import DeadLetters
from eskit.messaging.subscriber import Source, Subscriber
from eskit.messaging.subscription import (
    Handler,
    MemorySubscriptions,
    Subscription,
    Subscriptions,
)
from eskit.messaging.tail import TailRequest, tail_store
from eskit.store.eventstore import EventStore


class StoreSource:
    """Follows the log itself, in this process."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def head(self) -> int:
        """The head of the log."""
        return await asyncio.to_thread(self._store.head_position)

    def follow(self, request: TailRequest) -> AsyncGenerator[RecordedEvent, None]:
        """Straight from the store."""
        return tail_store(self._store, request)


class EventBus:
    """Runs subscriptions. `subscribe` starts one; `stop` on its result drains it.

    `dead_letters` are the events that they could not handle.
    """

    def __init__(self, source: Source, subscriptions: Subscriptions) -> None:
        self.dead_letters = DeadLetters(subscriptions)
        self._source = source
        self._subscriptions = subscriptions

    async def subscribe(self, subscription: Subscription, handler: Handler) -> Subscriber:
        """Start handling, in the background, as soon as no other process does.

        The handler may be called more than once for an event, never at the same time for two
        events of one stream.
        """
        subscriber = Subscriber(subscription, handler, self._source, self._subscriptions)
        subscriber.start()
        return subscriber


def memory_bus(store: EventStore) -> EventBus:
    """A bus within this process: events straight from the store, progress in memory."""
    return EventBus(StoreSource(store), MemorySubscriptions())
