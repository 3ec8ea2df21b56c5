"""The event bus: runs subscriptions over a source of events.

The source is the log itself or JetStream; the algorithm is the same. Publishing is not the bus's
business: what is appended to the store is published, by nobody else than the relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from datetime import datetime
from typing import Protocol

from eskit.domain.events import RecordedEvent
from eskit.domain.ids import new_id
from eskit.errors import BrokerUnavailable, RequestTimeout, SubscriptionTaken
from eskit.messaging.deadletters import DeadLetters, call_handler, make_letter
from eskit.messaging.subscription import (
    Handler,
    MemorySubscriptions,
    Progress,
    Subscription,
    Subscriptions,
    taken,
)
from eskit.messaging.tail import TailRequest, tail_store
from eskit.store.eventstore import EventStore

_log = logging.getLogger("eskit.bus")

BEAT = 1.0
"""How often a running subscription saves, in seconds."""
LEASE = 5.0
"""How long an owner may be silent before somebody else takes over."""


class Source(Protocol):
    """Events to follow."""

    async def head(self) -> int:
        """The position of the last event there is; 0 for none."""
        ...

    def follow(self, request: TailRequest) -> AsyncGenerator[RecordedEvent, None]:
        """The events that are asked for, for ever."""
        ...


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


class Subscriber:
    """One subscription at work; a service for the runner, too."""

    def __init__(
        self,
        subscription: Subscription,
        handler: Handler,
        source: Source,
        subscriptions: Subscriptions,
    ) -> None:
        self.name = subscription.name
        self._subscription = subscription
        self._handler = handler
        self._source = source
        self._subscriptions = subscriptions
        self._owner = new_id()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lanes: dict[tuple[str, str], deque[RecordedEvent]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(subscription.max_waiting)
        self._workers = asyncio.Semaphore(subscription.max_concurrent)
        self._unfinished: dict[int, None] = {}
        self._done: set[int] = set()
        self._deliveries: dict[int, int] = {}
        self._read: int | None = None
        self._revision = 0
        self._undecided = False
        self._beat = 0

    @property
    def position(self) -> int | None:
        """Up to which position every event is handled; None before the first."""
        if self._unfinished:
            return next(iter(self._unfinished)) - 1
        return self._read

    def start(self) -> None:
        """Begin, in the background."""
        self._task = asyncio.create_task(self._run(), name=f"subscription {self.name}")

    async def stop(self) -> None:
        """Finish what is being handled, save, and end; idempotent."""
        self._stopping.set()
        if self._task is not None:
            with contextlib.suppress(SubscriptionTaken):
                await asyncio.shield(self._task)

    async def wait(self) -> None:
        """Return when it has ended; raises SubscriptionTaken, or what the source raised."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _run(self) -> None:
        """Take the subscription, follow it until asked to stop, give it back."""
        if not await self._take_patiently():
            return
        with ThreadPoolExecutor(
            self._subscription.max_concurrent, thread_name_prefix=f"eskit-{self.name}"
        ) as pool:
            self._pool = pool
            following = asyncio.create_task(self._follow())
            beating = asyncio.create_task(self._keep_saving())
            asked = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({following, beating, asked}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._stopping.set()
                for task in (following, beating, asked):
                    task.cancel()
                await asyncio.wait({following, beating})
                if self._tasks:
                    await asyncio.wait(set(self._tasks))
        for task in (following, beating):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        await self._save(owner="")

    async def _take_patiently(self) -> bool:
        """Become the owner, waiting for a broker that is away; False if asked to stop before."""
        while not self._stopping.is_set():
            try:
                return await self._take()
            except (BrokerUnavailable, RequestTimeout) as error:
                _log.warning("Subscription %s waits for NATS: %s", self.name, error)
                await _pause(self._stopping, BEAT)
        return False

    async def _take(self) -> bool:
        """Become the owner once nobody else is; False if asked to stop before."""
        progress, self._revision = await self._subscriptions.load(self.name)
        while progress.owner and not self._stopping.is_set():
            before = self._revision
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE):
                    await self._until_free()
            progress, self._revision = await self._subscriptions.load(self.name)
            if self._revision == before:
                break
        if self._stopping.is_set():
            return False
        self._done, self._deliveries = set(progress.done), dict(progress.deliveries)
        self._read = progress.position
        if self._read is None and not isinstance(self._subscription.start, datetime):
            self._read = await self._first_position()
        await self._save(owner=self._owner)
        return True

    async def _until_free(self) -> None:
        """Return when the owner has given the subscription back, or we are to stop."""
        while not self._stopping.is_set():
            progress, _ = await self._subscriptions.load(self.name)
            if not progress.owner:
                return
            await _pause(self._stopping, LEASE / 10)

    async def _first_position(self) -> int:
        start = self._subscription.start
        if start == "new":
            return await self._source.head()
        return start if isinstance(start, int) else 0

    async def _follow(self) -> None:
        """Read events and put each into the lane of its stream."""
        async with aclosing(self._source.follow(self._subscription.request(self._read))) as events:
            async for event in events:
                if event.global_position in self._done:
                    self._read = event.global_position
                    continue
                await self._room.acquire()
                self._unfinished[event.global_position] = None
                self._read = event.global_position
                self._enqueue(event)

    def _enqueue(self, event: RecordedEvent) -> None:
        key = (event.tenant, event.stream)
        if key in self._lanes:
            self._lanes[key].append(event)
            return
        self._lanes[key] = deque([event])
        task = asyncio.create_task(self._work_off(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work_off(self, key: tuple[str, str]) -> None:
        """Handle the events of one stream one after another, until none waits or we stop."""
        lane = self._lanes[key]
        while lane and not self._stopping.is_set():
            event = lane[0]
            if not await self._settle(event):
                break
            lane.popleft()
            self._finish(event.global_position)
        del self._lanes[key]

    async def _settle(self, event: RecordedEvent) -> bool:
        """Handle an event or make it a dead letter; False if stopped before either."""
        position = event.global_position
        while True:
            deliveries = self._deliveries.get(position, 0) + 1
            try:
                async with self._workers:
                    if self._stopping.is_set():
                        return False
                    await call_handler(self._handler, event, self._pool)
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is retried
                self._deliveries[position] = deliveries
                _log.warning(
                    "Subscription %s, event %d, delivery %d: %s: %s",
                    *(self.name, position, deliveries, type(error).__name__, error),
                )
                if deliveries >= self._subscription.max_deliveries:
                    return await self._bury(event, error, deliveries)
                if await _pause(self._stopping, self._subscription.pause(deliveries)):
                    return False
            else:
                return True

    async def _bury(self, event: RecordedEvent, error: Exception, deliveries: int) -> bool:
        """Set the event aside; False if stopped before that was possible."""
        letter = make_letter(self.name, event, error, deliveries)
        while True:
            try:
                await self._subscriptions.add_dead_letter(letter)
            except (BrokerUnavailable, RequestTimeout) as away:
                _log.warning("Subscription %s could not save a dead letter: %s", self.name, away)
                if await _pause(self._stopping, BEAT):
                    return False
            else:
                return True

    def _finish(self, position: int) -> None:
        del self._unfinished[position]
        self._deliveries.pop(position, None)
        self._done.add(position)
        low = self.position
        if low is not None:
            self._done = {done for done in self._done if done > low}
        self._room.release()

    async def _keep_saving(self) -> None:
        while not await _pause(self._stopping, BEAT):
            await self._save(owner=self._owner)

    async def _save(self, *, owner: str) -> None:
        """Save, unless the broker is away: then the next time has more to save."""
        try:
            if self._undecided:
                await self._find_revision()
            self._undecided = True
            try:
                self._revision = await self._subscriptions.save(
                    self.name, self._progress(owner), revision=self._revision
                )
                self._undecided = False
            except SubscriptionTaken:
                # Or an earlier save of our own, sent before a reconnect, has only now arrived.
                await self._find_revision()
        except (BrokerUnavailable, RequestTimeout) as error:
            _log.warning("Subscription %s could not save: %s", self.name, error)

    async def _find_revision(self) -> None:
        """After a save without an answer: it was lost, carried out, or overtaken by another's."""
        progress, revision = await self._subscriptions.load(self.name)
        if revision != self._revision and progress.owner != self._owner:
            raise taken(self.name)
        self._revision, self._undecided = revision, False

    def _progress(self, owner: str) -> Progress:
        self._beat += 1
        return Progress(
            position=self.position,
            done=frozenset(self._done),
            deliveries=dict(self._deliveries),
            owner=owner,
            beat=self._beat,
        )


async def _pause(stopping: asyncio.Event, seconds: float) -> bool:
    """Sleep; True if asked to stop meanwhile."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
    return stopping.is_set()
