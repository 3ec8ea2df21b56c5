"""The relay: publishes the log, in order, and is the only one that does.

The log is the outbox. How far it has been published the relay asks the broker: on start it resumes
behind the last event in the broker's stream. The checkpoint kept with the log serves when the
stream has thrown that event away because of its age.

What is in its way, such as an event that no message can carry, or a stream that another program
writes to, ends nothing: the relay reports it, and looks again until it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from eskit.domain.events import RecordedEvent
from eskit.errors import (
    BrokerUnavailable,
    EskitError,
    MessagingError,
    RequestTimeout,
    StoreUnavailable,
)
from eskit.messaging.obstacles import keep_obstacle
from eskit.messaging.publisher import EventUnpublishable, PublishedLog, Publisher
from eskit.messaging.skips import find_relay_skip
from eskit.nats.headers import app_of
from eskit.nats.publishing import PublishInterrupted
from eskit.processes.holding import Holder, LocalLock, Lock, find_holder
from eskit.store.eventstore import EventStore
from eskit.store.records import RELAY_CHECKPOINT, RELAY_STREAM_CHECKPOINT, Checkpoint

_OWN_STREAM = "give this project a stream and a prefix of its own: nats_stream, nats_prefix."
_log = logging.getLogger("eskit.relay")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReport:
    """How many events were published, and the position up to which all are.

    `skipped` of them were passed over by decision. `replaced` is the source of the other store's
    log that the stream held before, if it did.
    """

    published: int
    position: int
    skipped: int = 0
    replaced: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatus:
    """What a relay is doing.

    `standby` (another relay of the store is active), `connecting`, `publishing`, `idle`, `away`
    (NATS or the store is, see `problem`), `blocked` (by the `problem`, for an operator) or
    `stopped`.
    `holder` is the process that is active meanwhile, if there is one.
    """

    state: str
    position: int = 0
    published: int = 0
    problem: EskitError | None = None
    holder: Holder | None = None

    @property
    def error(self) -> str:
        """The problem in a sentence; empty if there is none."""
        return str(self.problem) if self.problem is not None else ""

    @property
    def waits_for(self) -> str:
        """What a relay waits for that is `away`."""
        return "the store" if isinstance(self.problem, StoreUnavailable) else "NATS"


class Relay:
    """Publishes one store's log through one publisher, while it holds the `lock`.

    The lock keeps two relays from getting in each other's way. That no event is published twice or
    out of order does not depend on it: the broker checks what stands before each.

    `on_status` is called, on the event loop, whenever the state changes.
    """

    BATCH = 4000
    BATCH_BYTES = 4 * 1024 * 1024
    POLL = 0.25
    SAVE_EVERY = 1.0
    BACKOFF = (0.1, 2.0)
    STAND_BY = 0.5
    LOOK_AGAIN = 1.0
    WATCH_EVERY = 2.0
    REFUSALS = 5

    def __init__(
        self,
        store: EventStore,
        publisher: Publisher,
        *,
        lock: Lock | None = None,
        on_status: Callable[[RelayStatus], None] | None = None,
    ) -> None:
        self._store = store
        self._lock = lock or LocalLock({}, "relay")
        self._told: tuple[str, bool] | None = None
        self._publisher = publisher
        self._on_status = on_status
        self._sequence = 0
        self._last: tuple[int, str] = (0, "")
        self._ahead: tuple[int, asyncio.Future[list[RecordedEvent]]] | None = None
        self._published = self._skipped = 0
        self._failures = self._refusals = self._refused_at = 0
        self._saved = 0
        self._saved_at = self._watched_at = 0.0
        self.status = RelayStatus(state="connecting")

    async def run_once(self) -> RelayReport:
        """Publish everything up to the present head, and return.

        Raises RELAY_BUSY, BROKER_MISMATCH, BrokerUnavailable, EventUnpublishable or
        PublishInterrupted.
        """
        self._published = self._skipped = 0
        with self._alone(), self._worker() as work:
            head = await work(self._store.head_position)
            await self._resume(work)
            try:
                while self._last[0] < head and await self._publish_batch(work):
                    pass
            except EskitError as error:
                await self._save(work)
                self._set_status("blocked", error)
                await self._tell(work)
                raise
            await self._save(work)
            self._set_status("stopped")
            await self._tell(work)
        return self._report()

    async def run(self, stop: asyncio.Event) -> RelayReport:
        """Publish until `stop` is set, waiting for NATS whenever it is away.

        While another relay of the store is active it stands by, and takes over when that ends.
        What else is in its way is in its status: it lets others put it right, and looks again.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._lock.release)
            work = stack.enter_context(self._worker())
            while not stop.is_set():
                try:
                    if await self._stand_by(work, stop):
                        await self._resume(work)
                        await self._follow(work, stop)
                        await self._save(work)
                except EskitError as error:
                    await self._wait_out(error, work, stop)
            if self.status.state != "blocked":
                self._set_status("stopped")
        return self._report()

    async def _wait_out(self, error: EskitError, work: _Work, stop: asyncio.Event) -> None:
        """Say what is in the way, and pause."""
        if not isinstance(error, PublishInterrupted) or self._refused_at != self._last[0]:
            self._refusals, self._refused_at = 0, self._last[0]
        self._refusals += 1
        if _may_pass(error) and self._refusals <= self.REFUSALS:
            self._failures += 1
            if not isinstance(
                error, PublishInterrupted
            ):  # which the next try mends, or this counts
                self._set_status("away", error)
                await self._tell(work)
            if isinstance(error, StoreUnavailable):
                await work(self._lock.release)  # for who puts it right
            await _sleep(stop, self._pause(self._failures))
            return
        self._set_status("blocked", error)
        await self._tell(work)
        await work(self._lock.release)  # for who puts it right
        await _sleep(stop, self.LOOK_AGAIN)

    def _report(self) -> RelayReport:
        return RelayReport(published=self._published, position=self._last[0], skipped=self._skipped)

    async def republish(self) -> RelayReport:
        """Throw the stream's content away and publish the whole log; RELAY_BUSY.

        Also when another store of the app has published it, such as the one that this store is a
        backup of. Then its subscriptions resume after the last event that both logs have. Raises
        BROKER_MISMATCH when the stream belongs to another app.
        """
        with self._alone():
            state = await self._publisher.open()
            self._check_app(state)
            if state.foreign and state.last is None:
                raise MessagingError(
                    state.foreign, code="BROKER_MISMATCH", hint=f"G{_OWN_STREAM[1:]}"
                )
            with self._worker() as work:
                if taken_over := await work(self._is_of_another, state):
                    await self._discard_another(state, work)
                else:
                    await self._publisher.discard()
        report = await self.run_once()
        return replace(report, replaced=state.last.source if taken_over and state.last else "")

    async def _discard_another(self, state: PublishedLog, work: _Work) -> None:
        """Throw away another store's log, and let its subscriptions continue in this one."""

        async def holds(position: int, event_id: str) -> bool:
            return await work(self._has, position, event_id)

        shared = max(
            await self._publisher.find_shared(holds), await work(self._known_published, state)
        )
        # Before, so that one who ends in between can do it once more; and after, because until
        # then a subscription may have read on.
        await self._publisher.rewind(shared)
        await self._publisher.discard()
        await self._publisher.rewind(shared)

    async def _stand_by(self, work: _Work, stop: asyncio.Event) -> bool:
        """Wait until the lock is ours; False when asked to stop before."""
        while not stop.is_set():
            if await work(self._take):
                return True
            self._set_status("standby", holder=await work(find_holder, self._lock))
            await _sleep(stop, self.STAND_BY)
        return False

    def _take(self) -> bool:
        """Take the lock, if it is free, and say so; True also if it is held already."""
        held = self._lock.is_held()
        if not held and self._lock.acquire():
            self._told = None
            self._lock.write(Holder.here().note)
            held = True
        return held

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """With the lock; RELAY_BUSY when another relay has it."""
        if not self._take():
            holder = find_holder(self._lock) or Holder(pid=0)
            raise MessagingError(
                f"Another relay of this store is running ({holder.text})",
                code="RELAY_BUSY",
                hint="It publishes every event. Stop it first to replace it.",
            )
        try:
            yield
        finally:
            self._lock.release()

    async def _follow(self, work: _Work, stop: asyncio.Event) -> None:
        """Publish what there is and what comes, until asked to stop or the lock is lost."""
        while not stop.is_set() and self._lock.is_held():
            if await self._publish_batch(work):
                self._failures = self._refusals = 0
                self._set_status("publishing")
                if asyncio.get_running_loop().time() - self._saved_at > self.SAVE_EVERY:
                    await self._save(work)
            else:
                await self._save(work)
                self._failures = self._refusals = 0
                self._set_status("idle")
                await work(self._store.wait, self._last[0], self.POLL)
            await self._tell(work)
            if asyncio.get_running_loop().time() - self._watched_at > self.WATCH_EVERY:
                await self._publisher.check()
                self._watched_at = asyncio.get_running_loop().time()

    async def _resume(self, work: _Work) -> None:
        """Find out where to resume, and make the checkpoint speak of this stream."""
        if self.status.problem is None:  # else that is the case until it is over
            self._set_status("connecting")
        state = await self._publisher.open()
        self._check_source(state)
        self._ahead = None  # what failed may have taken long: what was read is read again
        self._last = await work(self._where_to_go_on, state)
        self._sequence = state.sequence
        self._saved = self._last[0]
        self._saved_at = self._watched_at = asyncio.get_running_loop().time()

    def _check_source(self, state: PublishedLog) -> None:
        """Raise BROKER_MISMATCH, with a hint, if another store or program has published."""
        if state.foreign and state.last is None:
            raise MessagingError(state.foreign, code="BROKER_MISMATCH", hint=f"G{_OWN_STREAM[1:]}")
        if state.foreign:
            raise MessagingError(
                state.foreign,
                code="BROKER_MISMATCH",
                hint="Stop the program that publishes there, then publish the log again: eskit "
                f"relay --republish\nOr {_OWN_STREAM}",
            )
        if state.last is None or state.last.source == self._publisher.source:
            return
        self._check_app(state)
        raise self._fed_by_another(
            state,
            hint="If this store takes the place of that one, as a restored backup does, publish "
            f"its log instead: eskit relay --republish\nIf not, {_OWN_STREAM}",
        )

    def _is_of_another(self, state: PublishedLog) -> bool:
        """Whether another store has published to the stream, also if nothing of it is left."""
        if state.last is not None:
            return state.last.source != self._publisher.source
        return state.sequence > 0 and not (self._knows(state) and self._own_checkpoint())

    def _check_app(self, state: PublishedLog) -> None:
        """Raise BROKER_MISMATCH if it was another app that has published."""
        if state.last is not None and app_of(state.last.source) != app_of(self._publisher.source):
            raise self._fed_by_another(state, hint=f"G{_OWN_STREAM[1:]}")

    def _fed_by_another(self, state: PublishedLog, *, hint: str) -> MessagingError:
        source = state.last.source if state.last is not None else "an unknown program"
        return MessagingError(
            f"Stream {state.name} is fed by {source}, not by {self._publisher.source}",
            code="BROKER_MISMATCH",
            hint=hint,
        )

    def _where_to_go_on(self, state: PublishedLog) -> tuple[int, str]:
        same_stream = self._knows(state)
        checkpoint = self._own_checkpoint()
        if state.last is not None:
            place = self._check_in_log(state.last.position, state.last.event_id, state.name)
        elif state.sequence == 0:
            place = (0, "")
        elif same_stream and checkpoint is not None:
            place = self._check_in_log(checkpoint.position, checkpoint.event_id, state.name)
        else:
            raise MessagingError(
                f"Stream {state.name} is empty but was used before, and no checkpoint says how far",
                code="BROKER_MISMATCH",
                hint="Publish the log again from its start: eskit relay --republish",
            )
        if not same_stream or checkpoint is None:
            # In this order: a crash in between leaves an old stream with a position too small.
            for name, at, event_id in (
                (RELAY_CHECKPOINT, *place),
                (RELAY_STREAM_CHECKPOINT, state.sequence, state.created),
            ):
                self._store.save_checkpoint(name, position=at, event_id=event_id, under=self._lock)
        return place

    def _own_checkpoint(self) -> Checkpoint | None:
        """The checkpoint, unless it came with a copy of another store."""
        checkpoint = self._store.find_checkpoint(RELAY_CHECKPOINT)
        own = checkpoint is not None and checkpoint.store_id == self._store.store_id
        return checkpoint if own else None

    def _knows(self, state: PublishedLog) -> bool:
        """Whether the checkpoint was taken from this stream."""
        known = self._store.find_checkpoint(RELAY_STREAM_CHECKPOINT)
        return known is not None and known.event_id == state.created

    def _known_published(self, state: PublishedLog) -> int:
        """How much of this log is known to have been published to the stream, by any store."""
        checkpoint = self._store.find_checkpoint(RELAY_CHECKPOINT)
        if checkpoint is None or not self._knows(state):
            return 0
        return checkpoint.position if self._has(checkpoint.position, checkpoint.event_id) else 0

    def _has(self, position: int, event_id: str) -> bool:
        event = self._store.find_event(position)
        return event is not None and event.event_id == event_id

    def _check_in_log(self, position: int, event_id: str, name: str) -> tuple[int, str]:
        if position == 0:
            return 0, ""
        event = self._store.find_event(position)
        if event is None or event.event_id != event_id:
            raise MessagingError(
                f"Stream {name} has event {event_id} at position {position}, the log has "
                f"{event.event_id if event else 'nothing'} there",
                code="BROKER_MISMATCH",
                hint="The log was restored or replaced. Publish it again: eskit relay --republish",
            )
        return position, event_id

    async def _publish_batch(self, work: _Work) -> bool:
        """Publish what comes next, or pass it over by decision; False if there was nothing."""
        events = await self._next_batch(work)
        if not events:
            return False
        try:
            sequence = await self._publisher.publish(events, after_sequence=self._sequence)
        except EventUnpublishable as error:
            if await work(find_relay_skip, self._store, events[0]) is None:
                raise
            _log.info("Skipped by decision: %s", error)
            self._skipped += 1
            passed = events[0]
        else:
            count = sequence - self._sequence
            self._sequence = sequence
            self._published += count
            passed = events[count - 1]
        self._last = (passed.global_position, passed.event_id)
        return True

    async def _next_batch(self, work: _Work) -> list[RecordedEvent]:
        """The events behind the last one published; those that follow are read meanwhile."""
        after, ahead = self._last[0], self._ahead
        self._ahead = None
        reading = ahead[1] if ahead is not None and ahead[0] == after else None
        events = await (reading or work(self._read_batch, after))
        if self._is_full(events):
            end = events[-1].global_position
            self._ahead = end, work(self._read_batch, end)
            self._ahead[1].add_done_callback(_look_at)
        return events

    def _read_batch(self, after: int) -> list[RecordedEvent]:
        events: list[RecordedEvent] = []
        size = 0
        for event in self._store.read_all(after=after, limit=self.BATCH):
            events.append(event)
            size += len(event.data)
            if size >= self.BATCH_BYTES:
                break
        return events

    def _is_full(self, events: Sequence[RecordedEvent]) -> bool:
        """Whether a batch ended because of its size: only then more of the log may follow."""
        size = sum(len(event.data) for event in events)
        return len(events) == self.BATCH or size >= self.BATCH_BYTES

    async def _save(self, work: _Work) -> None:
        position, event_id = self._last
        if position > self._saved and self._lock.is_held():
            await work(
                functools.partial(
                    self._store.save_checkpoint,
                    RELAY_CHECKPOINT,
                    position=position,
                    event_id=event_id,
                    under=self._lock,
                )
            )
            self._saved = position
        self._saved_at = asyncio.get_running_loop().time()

    async def _tell(self, work: _Work) -> None:
        """Let other processes know what is in the way, and that it no longer is."""
        problem, blocked = self.status.problem, self.status.state == "blocked"
        if (told := (self.status.error, blocked)) != self._told:
            self._told = told
            await work(functools.partial(self._keep_told, problem, blocked=blocked))

    def _keep_told(self, problem: EskitError | None, *, blocked: bool) -> None:
        if not self._lock.is_held():
            return
        why, hint = (str(problem), problem.hint) if problem is not None else ("", "")
        with contextlib.suppress(EskitError):  # of a store that is away others hear by themselves
            self._lock.write(replace(Holder.here(), waiting_for=why, hint=hint).note)
            keep_obstacle(self._store, problem if blocked else None)

    def _pause(self, failures: int) -> float:
        shortest, longest = self.BACKOFF
        return random.uniform(0.5, 1.0) * min(longest, shortest * 2.0 ** min(failures, 10))

    def _set_status(
        self, state: str, problem: EskitError | None = None, *, holder: Holder | None = None
    ) -> None:
        before = self.status
        self.status = RelayStatus(
            state=state,
            position=self._last[0],
            published=self._published,
            problem=problem,
            holder=holder,
        )
        if (state, self.status.error) == (before.state, before.error):
            return
        if self._on_status is not None:
            self._on_status(self.status)
        elif problem is not None and before.state != state:
            _log.warning("Relay is %s at position %d: %s", state, self._last[0], problem)
        else:
            _log.info("Relay is %s at position %d", state, self._last[0])

    @contextlib.contextmanager
    def _worker(self) -> Iterator[_Work]:
        """A thread of its own for the store: waiting for events must not take up a shared one."""
        with ThreadPoolExecutor(1, thread_name_prefix="eskit-relay") as executor:
            yield _Work(executor)


def _may_pass(error: EskitError) -> bool:
    """Whether an error goes away by itself."""
    if isinstance(error, StoreUnavailable):  # with a code of its own it waits for an operator
        return error.code == StoreUnavailable.code
    return isinstance(error, BrokerUnavailable | RequestTimeout | PublishInterrupted)


class _Work:
    """Runs functions of the store in a thread, from the event loop."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor

    def __call__(self, function: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        return asyncio.get_running_loop().run_in_executor(
            self._executor, functools.partial(function, *arguments)
        )


def _look_at(reading: asyncio.Future[list[RecordedEvent]]) -> None:
    """Ignore the failure of events that were read ahead and are not wanted."""
    if not reading.cancelled():
        reading.exception()


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not past the stop."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
