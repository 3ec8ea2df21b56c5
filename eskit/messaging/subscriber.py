"""A subscription at work: each event at least once, those of a stream one after another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import RecordedEvent
from eskit.errors import DeliveryFailed, LogBroken, ServiceError, SubscriptionTaken
from eskit.messaging.dead_letters import call_handler, make_dead_letter
from eskit.messaging.follower_status import find_problem
from eskit.messaging.lane import StreamLane
from eskit.messaging.progress import AWAY, SubscriptionProgress
from eskit.messaging.subscription import (
    EventHandler,
    Subscription,
    Subscriptions,
    SubscriptionState,
    Trouble,
)
from eskit.messaging.tail import TailRequest
from eskit.raised import error_line, shortened
from eskit.slow import SlowCalls
from eskit.text.quantities import count

_log = logging.getLogger("eskit.bus")

HEARTBEAT = 1.0
"""How often a running subscription saves, in seconds."""
LEASE = 4.0
"""How long an owner may be silent before another process takes over."""
QUARANTINE = 1000
"""How many events are handled one by one after an owner went silent: one of them may be why."""
MAX_LANES = 1000
"""How many streams may have an event that waits; above it, the log is not read on."""
STOP_WITHIN = 10.0
"""How long a handler may continue after `stop`, in seconds."""
_READ_AGAIN = 64
"""How many events of a stream are read again at once."""
_TROUBLE = 500
"""How much of an error is kept with the progress."""

SubscriberState: TypeAlias = Literal["standby", "running", "paused", "stopped"]


class EventSource(Protocol):
    """Events to follow."""

    async def start_position(self, start: Literal["first", "new"] | int | datetime) -> int | None:
        """Behind which position a first run begins; None where only the events can tell."""
        ...

    async def check(self, name: str, progress: SubscriptionState) -> str:
        """The id of the store whose log this is, if that is known.

        Raises CheckpointMismatch or LogBroken when the log cannot be continued from there.
        """
        ...

    def follow(self, request: TailRequest) -> AsyncGenerator[RecordedEvent, None]:
        """The events that are asked for, for ever."""
        ...

    async def read_again(
        self,
        position: int,
        *,
        up_to: int,
        limit: int,
        wanted: Callable[[RecordedEvent], bool] = lambda _: True,
    ) -> Sequence[RecordedEvent]:
        """The event at a position and those behind it in its stream, up to another position.

        As many as are wanted and within the limit; none when the log does not have the first.
        """
        ...

    async def advance(self, request: TailRequest, position: int) -> tuple[int, str]:
        """Up to which position nothing that is wanted lies behind this one, and that event's id.

        Raises LogBroken where events behind the position are gone that were not handled.
        """
        ...


class Subscriber:
    """One subscription at work; a service for the runner, too.

    `slow` watches handlers that run in threads.
    """

    def __init__(
        self,
        subscription: Subscription,
        handler: EventHandler,
        source: EventSource,
        subscriptions: Subscriptions,
        *,
        clock: Clock = SYSTEM_CLOCK,
        slow: SlowCalls | None = None,
    ) -> None:
        self.name = subscription.name
        self.state: SubscriberState = "stopped"
        self._subscription = subscription
        self._handler = handler
        self._source = source
        self._subscriptions = subscriptions
        self._clock = clock
        self._slow = slow or SlowCalls(clock=clock)
        self._limit = max(1, subscription.max_waiting // subscription.max_concurrent)
        self._batch = max(self._limit, min(_READ_AGAIN, subscription.max_waiting // 2))
        self._alone = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._asked_to_stop = False
        self._prepare()

    def _prepare(self) -> None:
        """Have nothing in hand."""
        subscription = self._subscription
        self._progress = SubscriptionProgress(subscription, self._subscriptions)
        self._request = subscription.request(None)
        self._stopping = asyncio.Event()
        if self._asked_to_stop:
            self._stopping.set()
        self._resumed = asyncio.Event()
        self._lanes: dict[tuple[str, str], StreamLane] = {}
        self._lane_ended = asyncio.Event()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_hand = 0
        self._room = asyncio.Semaphore(subscription.max_waiting)
        self._workers = asyncio.Semaphore(subscription.max_concurrent)
        self._quarantine = 0

    @property
    def position(self) -> int | None:
        """Up to which position every event is handled; None before the first."""
        return self._progress.position

    @property
    def unfinished(self) -> int:
        """How many events are in hand."""
        return self._in_hand

    @property
    def saving(self) -> str:
        """What keeps the progress from being saved; empty if nothing does."""
        return self._progress.saving

    def start(self) -> None:
        """Begin, in the background."""
        self._task = asyncio.create_task(self._run(), name=f"subscription {self.name}")

    async def stop(self) -> None:
        """Finish what is being handled, save, and end; idempotent.

        A handler that takes too long is abandoned: its event counts as not handled.
        """
        self._asked_to_stop = True
        self._stopping.set()
        if self._task is not None:
            with contextlib.suppress(SubscriptionTaken):
                await asyncio.shield(self._task)

    async def wait(self) -> None:
        """Return when it has ended; raises SubscriptionTaken, or what the source raised."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def check_health(self) -> None:
        """Raise ServiceError when something is not well, as its status says it.

        It has ended, its progress cannot be saved, a handler hangs, an event is tried again, or
        dead letters wait.
        """
        if self._task is None or self._task.done():
            raise ServiceError(f"Subscription {self.name} is not running")
        if self.saving:
            raise ServiceError(f"Subscription {self.name} cannot save: {self.saving}")
        try:
            letters = await self._subscriptions.list_dead_letters(self.name)
        except AWAY as error:
            raise ServiceError(f"Subscription {self.name} cannot be looked at: {error}") from error
        if problem := find_problem(self._progress.state, letters, self._clock.now):
            raise ServiceError(f"Subscription {self.name}: {problem}")

    def describe(self) -> str:
        """Whether it runs, stands by, or is paused."""
        return self.state

    async def _run(self) -> None:
        """Take the subscription, follow it until asked to stop, give it back."""
        try:
            self.state = "standby"
            while await self._take_patiently():
                try:
                    await self._work()
                except SubscriptionTaken:
                    if self._asked_to_stop or not await self._was_reset():
                        raise
                else:
                    break
                _log.warning("Subscription %s was reset: it begins again", self.name)
                self.state = "standby"
                self._prepare()
        finally:
            self.state = "stopped"

    async def _was_reset(self) -> bool:
        """Whether no process owns it any more, as after a reset by an operator."""
        with contextlib.suppress(*AWAY):
            progress, _ = await self._subscriptions.load(self.name)
            return not progress.owner and progress.position is not None
        return False

    async def _work(self) -> None:
        self.state = "running"
        following = asyncio.create_task(self._follow())
        saving = asyncio.create_task(self._keep_saving())
        asked = asyncio.create_task(self._stopping.wait())
        try:
            ends: set[asyncio.Future[Any]] = {following, saving, asked, self._broken}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            for task in (following, saving, asked):
                task.cancel()
            await asyncio.wait({following, saving})
            all_ended = await self._let_handlers_end()
        for ended in (following, saving, self._broken):
            if ended.done() and not ended.cancelled() and (error := ended.exception()):
                raise error
        # Another process that takes it at once must not meet an event that is still being handled.
        await (self._progress.give_back() if all_ended else self._progress.save())

    async def _let_handlers_end(self) -> bool:
        """Wait for what is being handled; False if some of it takes too long."""
        if not self._tasks:
            return True
        _, left = await asyncio.wait(set(self._tasks), timeout=STOP_WITHIN)
        for position in self._progress.running if left else ():
            _log.warning(
                "Subscription %s: event %d is still being handled; it counts as not handled",
                *(self.name, position),
            )
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=HEARTBEAT)
        return not left

    async def _take_patiently(self) -> bool:
        """Become the owner, waiting for a store that is away; False if asked to stop before."""
        waited = False
        while not self._stopping.is_set():
            try:
                return await self._take()
            except AWAY as error:
                level = logging.DEBUG if waited else logging.WARNING
                _log.log(level, "Subscription %s waits: %s", self.name, error)
                waited = True
                await _pause(self._stopping, HEARTBEAT)
        return False

    async def _take(self) -> bool:
        """Become the owner once there is no other; False if asked to stop before."""
        standing = self._progress
        while not self._stopping.is_set():
            progress = await self._until_free()
            if self._stopping.is_set():
                break
            standing.store_id = await self._source.check(self.name, progress)
            if standing.read is None:
                standing.read = await self._source.start_position(self._subscription.start)
            await self._open_lanes()
            with contextlib.suppress(SubscriptionTaken):  # another was faster: stand by for that
                await standing.save()
                return True
        return False

    async def _until_free(self) -> SubscriptionState:
        """Wait until the owner has given the subscription back, is silent, or we are to stop."""
        standing, loop = self._progress, asyncio.get_running_loop()
        progress = await standing.load()
        seen, since = standing.revision, loop.time()
        while progress.owner and not await _pause(self._stopping, LEASE / 10):
            progress = await standing.load()
            if standing.revision != seen:
                seen, since = standing.revision, loop.time()
            elif loop.time() - since >= LEASE:
                self._quarantine = QUARANTINE
                break
        return progress

    async def _open_lanes(self) -> None:
        """Go on where the owner before has left events of some streams unhandled."""
        self._lanes.clear()
        for position in sorted(self._progress.unhandled):
            found = await self._source.read_again(position, up_to=position, limit=1)
            if not found:
                raise _gone(self.name, position)
            lane = StreamLane(position, limit=self._limit, behind=position)
            self._lanes[found[0].tenant, found[0].stream] = lane

    async def _follow(self) -> None:
        """Read events and put each into the lane of its stream."""
        await self._look_for_pause()
        for key in list(self._lanes):
            self._begin(key)
        self._request = request = self._subscription.request(self._progress.read)
        async with aclosing(self._source.follow(request)) as events:
            async for event in events:
                if not self._progress.was_handled(event.global_position):
                    await self._enqueue(event)
                self._progress.reach(event.global_position, event.event_id)

    async def _enqueue(self, event: RecordedEvent) -> None:
        key = event.tenant, event.stream
        position = event.global_position
        lane = self._lanes.get(key)
        if lane is None:
            await self._room.acquire()
            while len(self._lanes) >= MAX_LANES:
                self._lane_ended.clear()
                await self._lane_ended.wait()
            self._lanes[key] = lane = StreamLane(position, limit=self._limit)
            self._progress.begin(position)
            self._take_in_hand(lane, event)
            self._begin(key)
        elif lane.takes and not self._room.locked():
            await self._room.acquire()  # at once: there is room
            self._take_in_hand(lane, event)
        else:
            lane.leave(position)

    def _begin(self, key: tuple[str, str]) -> None:
        task = asyncio.create_task(self._work_off(key))
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None or self._broken.done():
            return
        self._broken.set_exception(error)

    def _take_in_hand(self, lane: StreamLane, event: RecordedEvent) -> None:
        lane.waiting.append(event)
        self._in_hand += 1

    def _make_room(self, count: int) -> None:
        self._in_hand -= count
        for _ in range(count):
            self._room.release()

    async def _work_off(self, key: tuple[str, str]) -> None:
        """Handle the events of one stream one after another, until none waits or we stop."""
        lane = self._lanes[key]
        with contextlib.suppress(_Stopped):
            while lane.waiting or lane.behind is not None:
                if lane.waiting:
                    await self._settle_first(lane)
                else:
                    await self._read_again(lane)
            del self._lanes[key]
            self._lane_ended.set()

    async def _settle_first(self, lane: StreamLane) -> None:
        """Handle the first event of a lane, or put it down until it is tried again."""
        pause = await self._settle(lane.waiting[0])
        if pause is not None:
            self._make_room(lane.put_down())
            await self._sleep(pause)
            return
        following = lane.next()
        lane.waiting.popleft()
        self._make_room(1)
        self._progress.finish(lane.first)
        if following is not None:
            lane.first = following
            self._progress.begin(following)

    async def _read_again(self, lane: StreamLane) -> None:
        """Read the events of a stream that were left behind, up to where the log was read."""
        await self._acquire(self._room)
        lane.behind, lane.reading = None, True
        found: Sequence[RecordedEvent] = ()
        try:
            found = await self._source.read_again(
                lane.first,
                up_to=self._progress.read or 0,
                limit=self._batch + 1,
                wanted=self._is_wanted,
            )
        except AWAY as error:
            _log.warning("Subscription %s waits: %s", self.name, error)
            lane.behind = lane.first
            await self._sleep(HEARTBEAT)
            return
        finally:
            lane.reading = False
            self._in_hand += 1
            self._make_room(1)
        if not found:
            raise _gone(self.name, lane.first)
        for event in found:
            if len(lane.waiting) == self._batch or (lane.waiting and self._room.locked()):
                lane.behind = event.global_position
                return
            await self._acquire(self._room)
            self._take_in_hand(lane, event)

    def _is_wanted(self, event: RecordedEvent) -> bool:
        handled = self._progress.was_handled(event.global_position)
        return not handled and self._request.matches(event)

    async def _settle(self, event: RecordedEvent) -> float | None:
        """Handle an event or make it a dead letter; or how long to wait until it is tried again."""
        position = event.global_position
        counted = self._progress.unhandled
        deliveries = counted[position] + 1
        if deliveries > self._subscription.max_deliveries:
            await self._bury(event, _ended(deliveries - 1), deliveries - 1)
            return None
        try:
            await self._deliver(event, deliveries)
        except _Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a handler raises is retried
            counted[position] = deliveries
            self._note(event, error, deliveries)
            final = isinstance(error, self._subscription.give_up_on)
            if final or deliveries >= self._subscription.max_deliveries:
                await self._bury(event, error, deliveries)
                return None
            return self._subscription.pause(deliveries)
        return None

    def _note(self, event: RecordedEvent, error: Exception, deliveries: int) -> None:
        text = shortened(error_line(error), _TROUBLE)
        position = event.global_position
        _log.warning(
            "Subscription %s, event %d, delivery %d: %s", self.name, position, deliveries, text
        )
        self._progress.trouble = Trouble(position=position, error=text, at=self._clock.now)

    async def _deliver(self, event: RecordedEvent, deliveries: int) -> None:
        """Let the handler have the event.

        After an owner went silent an event may be what ended its process. Then they are handled
        one at a time, and each is counted before, so that the one can be told from the others.
        """
        await self._acquire(self._workers)
        try:
            if not self._quarantine:
                await self._call(event)
                return
            async with self._alone:
                self._progress.unhandled[event.global_position] = deliveries
                await self._save_patiently()
                self._quarantine = max(0, self._quarantine - 1)
                await self._call(event)
        finally:
            self._workers.release()

    async def _save_patiently(self) -> None:
        """Save, waiting for a store that is away."""
        try:
            while not await self._progress.save():
                await self._sleep(HEARTBEAT)
        except SubscriptionTaken:  # the next heartbeat ends it all
            raise _Stopped from None

    async def _call(self, event: RecordedEvent) -> None:
        await self._until_resumed()
        if self._progress.is_silent(LEASE):  # this process stood still: another may be the owner
            await self._save_patiently()
        if self._stopping.is_set():
            raise _Stopped
        running, position = self._progress.running, event.global_position
        running[position] = self._clock.now
        try:
            await call_handler(
                self._handler, event, name=self.name, clock=self._clock, slow=self._slow
            )
        finally:
            del running[position]

    async def _bury(self, event: RecordedEvent, error: Exception, deliveries: int) -> None:
        """Set the event aside."""
        letter = make_dead_letter(self.name, event, error, deliveries)
        if self._progress.is_silent(LEASE):
            await self._save_patiently()
        while True:
            try:
                await self._subscriptions.add_dead_letter(letter)
            except AWAY as away:
                _log.warning("Subscription %s cannot save a dead letter: %s", self.name, away)
                await self._sleep(HEARTBEAT)
            else:
                _log.warning(
                    "Subscription %s: event %d became a dead letter after %s",
                    *(self.name, event.global_position),
                    count(deliveries, "delivery", "deliveries"),
                )
                return

    async def _keep_saving(self) -> None:
        while not await _pause(self._stopping, HEARTBEAT):
            await self._look_for_pause()
            await self._advance()
            await self._progress.save()

    async def _look_for_pause(self) -> None:
        with contextlib.suppress(*AWAY):
            paused = await self._subscriptions.find_pause(self.name) is not None
            self.state = "paused" if paused else "running"
            if paused:
                self._resumed.clear()
            else:
                self._resumed.set()

    async def _advance(self) -> None:
        """Pass what is of no interest."""
        read = self._progress.read
        if read is None or not self._resumed.is_set():
            return
        with contextlib.suppress(*AWAY):
            self._progress.reach(*await self._source.advance(self._request, read))

    async def _until_resumed(self) -> None:
        if not self._resumed.is_set():
            await _either(self._resumed.wait(), self._stopping.wait())

    async def _acquire(self, semaphore: asyncio.Semaphore) -> None:
        """Take one of a semaphore, unless we are to stop."""
        if semaphore.locked() and not self._stopping.is_set():
            acquiring = asyncio.ensure_future(semaphore.acquire())
            await _either(acquiring, self._stopping.wait())
            if not self._stopping.is_set():
                return
            if acquiring.done() and not acquiring.cancelled():
                semaphore.release()
        if self._stopping.is_set():
            raise _Stopped
        await semaphore.acquire()

    async def _sleep(self, seconds: float) -> None:
        if await _pause(self._stopping, seconds):
            raise _Stopped


class _Stopped(Exception):
    """The subscription is to stop, before what was to be done."""


def _ended(deliveries: int) -> DeliveryFailed:
    return DeliveryFailed(
        f"Begun {deliveries} times and never brought to an end: it seems to end the process",
        code="PROCESS_ENDED",
        hint="Look at what its handler does, then retry or skip it.",
    )


def _gone(name: str, position: int) -> LogBroken:
    return LogBroken(
        f"Subscription {name} has not handled the event at {position:,}, which is gone",
        position=position,
    )


async def _pause(stopping: asyncio.Event, seconds: float) -> bool:
    """Sleep; True if asked to stop meanwhile."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
    return stopping.is_set()


async def _either(*waiting: Awaitable[object]) -> None:
    """Return when one of them is done; cancel the rest."""
    tasks = [asyncio.ensure_future(each) for each in waiting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
