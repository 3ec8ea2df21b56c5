"""The relay: publishes the log, in order, and is the only one that does.

The log is the outbox. What has been published is asked of the outlet, not remembered: on start
the relay goes on after the last event the outlet holds. The checkpoint kept with the log serves
when the outlet has thrown its last event away because of its age.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from eskit.domain.events import RecordedEvent
from eskit.errors import (
    BrokerMismatch,
    BrokerUnavailable,
    PublishInterrupted,
    RelayBusy,
    RequestTimeout,
)
from eskit.messaging.headers import app_of
from eskit.messaging.lease import Lease, NoLease
from eskit.store.eventstore import EventStore
from eskit.store.records import OUTLET_CHECKPOINT, RELAY_CHECKPOINT, Checkpoint

_OWN_STREAM = "give this project a stream and a prefix of its own: nats_stream, nats_prefix."
_log = logging.getLogger("eskit.relay")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEvent:
    """The last event that an outlet holds."""

    source: str
    position: int
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutletState:
    """How far an outlet is. `sequence` counts what it ever took, also what has aged out."""

    name: str
    created: str
    sequence: int
    last: LastEvent | None


class Outlet(Protocol):
    """Where the log is published to."""

    @property
    def source(self) -> str:
        """What marks the events of this store."""
        ...

    async def open(self) -> OutletState:
        """Create or check the outlet. Raises BrokerMismatch, BrokerUnavailable."""
        ...

    async def publish(self, events: Sequence[RecordedEvent], *, after_sequence: int) -> int:
        """Publish in order, expecting nothing else after `after_sequence`.

        Returns the new sequence. Raises PublishInterrupted or BrokerUnavailable; what was published
        by then are the first of `events`, without a gap.
        """
        ...

    async def find_shared(self, holds: Callable[[int, str], Awaitable[bool]]) -> int:
        """The last position up to which what it holds is in a log; 0 if nothing is.

        `holds` tells whether the log has the event with an id at a position.
        """
        ...

    async def rewind(self, position: int) -> None:
        """Let no subscription have passed more than a position; those at work end."""
        ...

    async def discard(self) -> None:
        """Throw away everything published so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayReport:
    """How many events were published, and the position up to which all are.

    `replaced` is the source of the other store's log that the outlet held before, if it did.
    """

    published: int
    position: int
    replaced: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatus:
    """What a relay is doing.

    `standby` (another relay of the store is active), `connecting`, `publishing`, `idle`, `away`
    (NATS is, with the `error`) or `stopped`.
    """

    state: str
    position: int = 0
    published: int = 0
    error: str = ""


class Relay:
    """Publishes one store's log to one outlet, while it holds the `lease`.

    `on_status` is called, on the event loop, whenever the state changes.
    """

    BATCH = 1000
    BATCH_BYTES = 4 * 1024 * 1024
    POLL = 0.25
    SAVE_EVERY = 1.0
    BACKOFF = (0.1, 2.0)
    STAND_BY = 0.5

    def __init__(
        self,
        store: EventStore,
        outlet: Outlet,
        *,
        lease: Lease | None = None,
        on_status: Callable[[RelayStatus], None] | None = None,
    ) -> None:
        self._store = store
        self._lease = lease or NoLease()
        self._outlet = outlet
        self._on_status = on_status
        self._sequence = 0
        self._last: tuple[int, str] = (0, "")
        self._published = 0
        self._saved = 0
        self._saved_at = 0.0
        self.status = RelayStatus(state="stopped")

    async def run_once(self) -> RelayReport:
        """Publish everything up to the present head, and return.

        Raises RelayBusy, BrokerMismatch, BrokerUnavailable or PublishInterrupted.
        """
        self._published = 0
        with self._alone(), self._worker() as work:
            head = await work(self._store.head_position)
            await self._resume(work)
            while self._last[0] < head and await self._publish_batch(work):
                pass
            await self._save(work)
        self._set_status("stopped")
        return RelayReport(published=self._published, position=self._last[0])

    async def run(self, stop: asyncio.Event) -> RelayReport:
        """Publish until `stop` is set, waiting for NATS whenever it is away.

        While another relay of the store is active it stands by, and takes over when that ends.
        Raises BrokerMismatch when the outlet belongs to somebody else.
        """
        failures = 0
        with contextlib.ExitStack() as stack:
            stack.callback(self._lease.release)
            work = stack.enter_context(self._worker())
            await self._stand_by(work, stop)
            while not stop.is_set():
                try:
                    await self._resume(work)
                    failures = 0
                    await self._follow(work, stop)
                except (BrokerUnavailable, RequestTimeout, PublishInterrupted) as error:
                    self._set_status("away", str(error))
                    failures += 1
                    await _sleep(stop, self._pause(failures))
            await self._save(work)
        self._set_status("stopped")
        return RelayReport(published=self._published, position=self._last[0])

    async def republish(self) -> RelayReport:
        """Throw the outlet's content away and publish the whole log; RelayBusy.

        Also when another store of the app has published it, such as the one that this store is a
        backup of. Then its subscriptions go on behind the last event that both logs have. Raises
        BrokerMismatch when the outlet belongs to another app.
        """
        with self._alone():
            state = await self._outlet.open()
            self._check_app(state)
            with self._worker() as work:
                if taken_over := await work(self._is_of_another, state):
                    await self._discard_another(state, work)
                else:
                    await self._outlet.discard()
        report = await self.run_once()
        return replace(report, replaced=state.last.source if taken_over and state.last else "")

    async def _discard_another(self, state: OutletState, work: _Work) -> None:
        """Throw away another store's log, and let its subscriptions go on in this one."""

        async def holds(position: int, event_id: str) -> bool:
            return await work(self._has, position, event_id)

        shared = max(
            await self._outlet.find_shared(holds), await work(self._known_published, state)
        )
        # Before, so that one who ends in between can do it once more; and after, because until
        # then a subscription may have read on.
        await self._outlet.rewind(shared)
        await self._outlet.discard()
        await self._outlet.rewind(shared)

    async def _stand_by(self, work: _Work, stop: asyncio.Event) -> None:
        """Return when the lease is ours, or when asked to stop."""
        while not stop.is_set() and not await work(self._lease.try_acquire):
            self._set_status("standby")
            await _sleep(stop, self.STAND_BY)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """With the lease; RelayBusy when another relay has it."""
        if not self._lease.try_acquire():
            raise RelayBusy(
                f"Another relay of this store is running (process {self._lease.find_holder()})",
                hint="It publishes all there is. To take its place, stop it first.",
            )
        try:
            yield
        finally:
            self._lease.release()

    async def _follow(self, work: _Work, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if await self._publish_batch(work):
                self._set_status("publishing")
                if asyncio.get_running_loop().time() - self._saved_at > self.SAVE_EVERY:
                    await self._save(work)
            else:
                await self._save(work)
                self._set_status("idle")
                await work(self._store.wait, self._last[0], self.POLL)

    async def _resume(self, work: _Work) -> None:
        """Find out where to go on, and make the checkpoint speak of this outlet."""
        self._set_status("connecting")
        state = await self._outlet.open()
        self._check_source(state)
        self._last = await work(self._where_to_go_on, state)
        self._sequence = state.sequence
        self._saved, self._saved_at = self._last[0], asyncio.get_running_loop().time()

    def _check_source(self, state: OutletState) -> None:
        """Raise BrokerMismatch, with what to do, if another store has published."""
        if state.last is None or state.last.source == self._outlet.source:
            return
        self._check_app(state)
        raise self._fed_by_another(
            state,
            hint="If this store takes the place of that one, as a restored backup does, publish "
            f"its log instead: eskit relay --republish\nIf not, {_OWN_STREAM}",
        )

    def _is_of_another(self, state: OutletState) -> bool:
        """Whether another store has published to the outlet, also if nothing of it is left."""
        if state.last is not None:
            return state.last.source != self._outlet.source
        return state.sequence > 0 and not (self._knows(state) and self._own_checkpoint())

    def _check_app(self, state: OutletState) -> None:
        """Raise BrokerMismatch if it was another app that has published."""
        if state.last is not None and app_of(state.last.source) != app_of(self._outlet.source):
            raise self._fed_by_another(state, hint=f"G{_OWN_STREAM[1:]}")

    def _fed_by_another(self, state: OutletState, *, hint: str) -> BrokerMismatch:
        source = state.last.source if state.last is not None else "nobody"
        return BrokerMismatch(
            f"Stream {state.name} is fed by {source}, not by {self._outlet.source}", hint=hint
        )

    def _where_to_go_on(self, state: OutletState) -> tuple[int, str]:
        same_outlet = self._knows(state)
        checkpoint = self._own_checkpoint()
        if state.last is not None:
            place = self._check_in_log(state.last.position, state.last.event_id, state.name)
        elif state.sequence == 0:
            place = (0, "")
        elif same_outlet and checkpoint is not None:
            place = self._check_in_log(checkpoint.position, checkpoint.event_id, state.name)
        else:
            raise BrokerMismatch(
                f"Stream {state.name} is empty but was used before, and no checkpoint says how far",
                hint="Publish the log again from its start: eskit relay --republish",
            )
        if not same_outlet or checkpoint is None:
            # In this order: a crash in between leaves an old outlet with a position too small.
            self._store.save_checkpoint(RELAY_CHECKPOINT, position=place[0], event_id=place[1])
            self._store.save_checkpoint(
                OUTLET_CHECKPOINT, position=state.sequence, event_id=state.created
            )
        return place

    def _own_checkpoint(self) -> Checkpoint | None:
        """The checkpoint, unless it came with a copy of another store."""
        checkpoint = self._store.load_checkpoint(RELAY_CHECKPOINT)
        own = checkpoint is not None and checkpoint.store_id == self._store.store_id
        return checkpoint if own else None

    def _knows(self, state: OutletState) -> bool:
        """Whether the checkpoint was taken from this outlet."""
        known = self._store.load_checkpoint(OUTLET_CHECKPOINT)
        return known is not None and known.event_id == state.created

    def _known_published(self, state: OutletState) -> int:
        """How much of this log is known to have been published to the outlet, by any store."""
        checkpoint = self._store.load_checkpoint(RELAY_CHECKPOINT)
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
            raise BrokerMismatch(
                f"Stream {name} has event {event_id} at position {position}, the log has "
                f"{event.event_id if event else 'nothing'} there",
                hint="The log was restored or replaced. Publish it again: eskit relay --republish",
            )
        return position, event_id

    async def _publish_batch(self, work: _Work) -> bool:
        """Publish what comes next; False if there was nothing."""
        events = await work(self._read_batch)
        if not events:
            return False
        self._sequence = await self._outlet.publish(events, after_sequence=self._sequence)
        self._last = (events[-1].global_position, events[-1].event_id)
        self._published += len(events)
        return True

    def _read_batch(self) -> list[RecordedEvent]:
        events: list[RecordedEvent] = []
        size = 0
        for event in self._store.read_all(after=self._last[0], limit=self.BATCH):
            events.append(event)
            size += len(event.data)
            if size >= self.BATCH_BYTES:
                break
        return events

    async def _save(self, work: _Work) -> None:
        position, event_id = self._last
        if position > self._saved:
            await work(
                functools.partial(
                    self._store.save_checkpoint,
                    RELAY_CHECKPOINT,
                    position=position,
                    event_id=event_id,
                )
            )
            self._saved = position
        self._saved_at = asyncio.get_running_loop().time()

    def _pause(self, failures: int) -> float:
        shortest, longest = self.BACKOFF
        return random.uniform(0.5, 1.0) * min(longest, shortest * 2.0 ** min(failures, 10))

    def _set_status(self, state: str, error: str = "") -> None:
        status = RelayStatus(
            state=state, position=self._last[0], published=self._published, error=error
        )
        changed = (status.state, status.error) != (self.status.state, self.status.error)
        self.status = status
        if changed:
            _log.log(
                logging.WARNING if state == "away" else logging.DEBUG,
                "Relay is %s at position %d %s",
                *(state, status.position, error),
            )
            if self._on_status is not None:
                self._on_status(status)

    @contextlib.contextmanager
    def _worker(self) -> Iterator[_Work]:
        """A thread of its own for the store: waiting for events must not take up a shared one."""
        with ThreadPoolExecutor(1, thread_name_prefix="eskit-relay") as executor:
            yield _Work(executor)


class _Work:
    """Runs functions of the store in a thread, from the event loop."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self._executor = executor

    async def __call__(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, functools.partial(function, *arguments)
        )


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not past the stop."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
