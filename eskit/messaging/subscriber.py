"""A subscription at work: each event at least once, those of a stream one after another."""

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
from eskit.errors import BrokerUnavailable, MessagingError, RequestTimeout, SubscriptionTaken
from eskit.messaging.deadletters import call_handler, make_letter
from eskit.messaging.standing import Standing
from eskit.messaging.subscription import Handler, Subscription, Subscriptions
from eskit.messaging.tail import TailRequest

_log = logging.getLogger("eskit.bus")

BEAT = 1.0
"""How often a running subscription saves, in seconds."""
LEASE = 5.0
"""How long an owner may be silent before somebody else takes over."""
CAREFUL = 1000
"""How many events are handled one by one after an owner went silent: one of them may be why."""


class ProcessEnded(MessagingError):
    """A handler was begun as often as allowed and never came to an end, nor raised."""

    code = "PROCESS_ENDED"


class Source(Protocol):
    """Events to follow."""

    async def head(self) -> int:
        """The position of the last event there is; 0 for none."""
        ...

    def follow(self, request: TailRequest) -> AsyncGenerator[RecordedEvent, None]:
        """The events that are asked for, for ever."""
        ...


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
        self._standing = Standing(subscription.name, subscriptions)
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lanes: dict[tuple[str, str], deque[RecordedEvent]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(subscription.max_waiting)
        self._workers = asyncio.Semaphore(subscription.max_concurrent)
        self._careful = 0
        self._alone = asyncio.Lock()

    @property
    def position(self) -> int | None:
        """Up to which position every event is handled; None before the first."""
        return self._standing.position

    @property
    def unfinished(self) -> int:
        """How many events are in hand."""
        return self._standing.unfinished

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
        await self._standing.give_back()

    async def _take_patiently(self) -> bool:
        """Become the owner, waiting for a broker that is away; False if asked to stop before."""
        waited = False
        while not self._stopping.is_set():
            try:
                return await self._take()
            except (BrokerUnavailable, RequestTimeout) as error:
                level = logging.DEBUG if waited else logging.WARNING
                _log.log(level, "Subscription %s waits for NATS: %s", self.name, error)
                waited = True
                await _pause(self._stopping, BEAT)
        return False

    async def _take(self) -> bool:
        """Become the owner once nobody else is; False if asked to stop before."""
        progress = await self._standing.load()
        while progress.owner and not self._stopping.is_set():
            before = self._standing.revision
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEASE):
                    await self._until_free()
            progress = await self._standing.load()
            if self._standing.revision == before:
                self._careful = CAREFUL
                break
        if self._stopping.is_set():
            return False
        if self._standing.read is None and not isinstance(self._subscription.start, datetime):
            self._standing.read = await self._first_position()
        await self._standing.save()
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
        request = self._subscription.request(self._standing.read)
        async with aclosing(self._source.follow(request)) as events:
            async for event in events:
                if self._standing.passes(event.global_position):
                    continue
                await self._room.acquire()
                self._standing.begin(event.global_position)
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
            self._standing.finish(event.global_position)
            self._room.release()
        del self._lanes[key]

    async def _settle(self, event: RecordedEvent) -> bool:
        """Handle an event or make it a dead letter; False if stopped before either."""
        position = event.global_position
        counted = self._standing.deliveries
        while True:
            deliveries = counted.get(position, 0) + 1
            if deliveries > self._subscription.max_deliveries:
                return await self._bury(event, _ended(deliveries - 1), deliveries - 1)
            try:
                if not await self._deliver(event, deliveries):
                    return False
            except Exception as error:  # noqa: BLE001 - whatever a handler raises is retried
                counted[position] = deliveries
                _log.warning(
                    "Subscription %s, event %d, delivery %d: %s: %s",
                    *(self.name, position, deliveries, type(error).__name__, error),
                )
                final = isinstance(error, self._subscription.give_up_on)
                if final or deliveries >= self._subscription.max_deliveries:
                    return await self._bury(event, error, deliveries)
                if await _pause(self._stopping, self._subscription.pause(deliveries)):
                    return False
            else:
                return True

    async def _deliver(self, event: RecordedEvent, deliveries: int) -> bool:
        """Let the handler have the event; False if stopped before.

        After an owner went silent an event may be what ended its process. Then they are handled
        one at a time, and each is counted before, so that the one can be told from the others.
        """
        async with self._workers:
            if not self._careful:
                return await self._call(event)
            async with self._alone:
                self._standing.deliveries[event.global_position] = deliveries
                if not await self._save_patiently():
                    return False
                self._careful = max(0, self._careful - 1)
                return await self._call(event)

    async def _save_patiently(self) -> bool:
        """Save, waiting for a broker that is away; False if stopped or replaced before."""
        with contextlib.suppress(SubscriptionTaken):  # the next beat ends it all
            while not await self._standing.save():
                if await _pause(self._stopping, BEAT):
                    return False
            return True
        return False

    async def _call(self, event: RecordedEvent) -> bool:
        if self._stopping.is_set():
            return False
        await call_handler(self._handler, event, self._pool)
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

    async def _keep_saving(self) -> None:
        while not await _pause(self._stopping, BEAT):
            await self._standing.save()


def _ended(deliveries: int) -> ProcessEnded:
    return ProcessEnded(
        f"Begun {deliveries} times and never brought to an end: it seems to end the process",
        hint="Look at what its handler does, then retry or skip it.",
    )


async def _pause(stopping: asyncio.Event, seconds: float) -> bool:
    """Sleep; True if asked to stop meanwhile."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
    return stopping.is_set()
