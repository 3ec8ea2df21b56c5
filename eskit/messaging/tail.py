"""Following events: what to show, and where from. From the store here, from NATS in `tail_nats`.

Both give the same RecordedEvents in log order. Their payloads are decoded by whoever asks for
`message`, so an unknown event type does not stop a tail.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import RecordedEvent
from eskit.domain.streams import category_of
from eskit.errors import InvalidArgument
from eskit.store.eventstore import EventStore

_PAGE = 1000
_POLL = 0.03
"""The store looks less often the longer one wait lasts: short ones show others' events soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TailRequest:
    """Which events to follow.

    `start` is ``"first"``, ``"new"`` or the number of last matching events to begin with; `after`
    (a position) and `since` (a time) override it. `follow` waits for new events, till
    `until`; without it the tail ends at the head it found when it began. Every filter that is
    empty lets everything pass. Event types may be full names or short ones: ``AccountOpened``,
    ``AccountOpenedEvent``. `tenants` names tenants; ``""`` is the default one.
    """

    start: Literal["first", "new"] | int = "new"
    after: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    follow: bool = True
    event_types: Sequence[str] = ()
    stream: str = ""
    aggregates: Sequence[str] = ()
    tenants: Sequence[str] = ()
    correlation_id: str = ""
    where: Callable[[RecordedEvent], bool] | None = None
    """A filter of one's own; called in worker threads, too."""
    clock: Clock = SYSTEM_CLOCK

    def __post_init__(self) -> None:
        for time in (self.since, self.until):
            if time is not None and time.tzinfo is None:
                raise InvalidArgument(f"{time} has no time zone", hint="Write 2026-01-31T12:00Z.")
        if not isinstance(self.start, str) and self.start < 0:
            raise InvalidArgument(f"Cannot begin with the last {self.start} events")

    def matches(self, event: RecordedEvent) -> bool:
        """Whether the event passes every filter; times are not looked at."""
        return (
            (not self.stream or event.stream == self.stream)
            and (not self.aggregates or category_of(event.stream) in self.aggregates)
            and (not self.tenants or event.tenant in self.tenants)
            and (not self.event_types or self._is_wanted_type(event.event_type))
            and (not self.correlation_id or event.metadata.correlation_id == self.correlation_id)
            and (self.where is None or self.where(event))
        )

    def select(self, events: Sequence[RecordedEvent]) -> Sequence[RecordedEvent]:
        """Those that are asked for, of events in the order of the log."""
        if self._takes_all():
            return events
        return [
            event
            for event in events
            if self.matches(event) and not self.begins_behind(event) and not self.ends_before(event)
        ]

    def _takes_all(self) -> bool:
        filters = self.stream, self.aggregates, self.tenants, self.event_types, self.correlation_id
        return not any((*filters, self.where, self.since, self.until))

    @property
    def by_type_only(self) -> bool:
        """Whether full event types say which events match, or all do."""
        return self.by_subject and not (self.aggregates or self.tenants)

    @property
    def by_subject(self) -> bool:
        """Whether full event types, aggregates and tenants say which events match, or all do."""
        others = self.stream, self.correlation_id, self.where, self.since, self.until
        return not any(others) and len(self.full_types) == len(self.event_types)

    def _is_wanted_type(self, event_type: str) -> bool:
        return any(is_of_type(event_type, name) for name in self.event_types)

    def begins_behind(self, event: RecordedEvent) -> bool:
        """Whether the event was recorded before `since`.

        A stream that is still being filled gives such events after its start was looked for.
        """
        return self.after is None and self.since is not None and event.recorded_at < self.since

    def ends_before(self, event: RecordedEvent) -> bool:
        """Whether the event, and so every later one, was recorded after `until`."""
        return self.until is not None and event.recorded_at > self.until

    def is_over(self) -> bool:
        """Whether nothing that is recorded from now on can be wanted."""
        return self.until is not None and self.clock.now > self.until

    @property
    def categories(self) -> tuple[str, ...]:
        """The aggregate types that can match; empty for all."""
        if self.stream:
            return (category_of(self.stream),)
        return tuple(dict.fromkeys(self.aggregates))

    @property
    def full_types(self) -> tuple[str, ...]:
        """The event types to read if all are given by full name, else empty for all."""
        return tuple(self.event_types) if all("." in name for name in self.event_types) else ()


async def tail_store(
    store: EventStore, request: TailRequest
) -> AsyncGenerator[RecordedEvent, None]:
    """The events of `tail_store_batches`, one at a time."""
    async with aclosing(tail_store_batches(store, request)) as batches:
        async for batch in batches:
            for event in batch:
                yield event


async def tail_store_batches(
    store: EventStore, request: TailRequest
) -> AsyncGenerator[Sequence[RecordedEvent], None]:
    """The events that `request` asks for, from the log. With `follow` it ends only at `until`.

    A batch is what the log has when it is asked for, up to a page.
    """
    head = await asyncio.to_thread(store.head_position)
    if _counts_back(request):
        yield await asyncio.to_thread(_last_events, store, request, head)
        position = head
    else:
        position = await asyncio.to_thread(_start_position, store, request, head)
    while True:
        async for page in _read(store, request, after=position, head=head):
            yield request.select(page)
            if request.ends_before(page[-1]):
                return
        position = max(position, head)
        if not request.follow:
            return
        over = request.is_over()
        while not await asyncio.to_thread(store.wait, position, _POLL):
            if over:
                return
            over = request.is_over()
        head = await asyncio.to_thread(store.head_position)


async def _read(
    store: EventStore, request: TailRequest, *, after: int, head: int
) -> AsyncGenerator[list[RecordedEvent], None]:
    """The pages of the log up to the head."""
    read = functools.partial(_page, store, request, head)
    while page := await asyncio.to_thread(read, after):
        yield page
        after = page[-1].global_position


def _page(store: EventStore, request: TailRequest, head: int, after: int) -> list[RecordedEvent]:
    if after >= head:
        return []
    return list(
        store.read_all(
            after=after,
            before=head + 1,
            limit=_PAGE,
            categories=request.categories,
            event_types=request.full_types,
            tenants=request.tenants,
        )
    )


def _counts_back(request: TailRequest) -> bool:
    return request.after is None and request.since is None and not isinstance(request.start, str)


def _last_events(store: EventStore, request: TailRequest, head: int) -> list[RecordedEvent]:
    """The last matching events up to the head, oldest first."""
    wanted = int(request.start)
    found: list[RecordedEvent] = []
    if wanted == 0:
        return found
    for event in store.read_all(
        before=head + 1,
        backward=True,
        categories=request.categories,
        event_types=request.full_types,
        tenants=request.tenants,
    ):
        if request.matches(event) and not request.ends_before(event):
            found.append(event)
            if len(found) == wanted:
                break
    return found[::-1]


def _start_position(store: EventStore, request: TailRequest, head: int) -> int:
    if request.after is not None:
        return request.after
    if request.since is not None:
        return position_before(store, request.since, head)
    return head if request.start == "new" else 0


def position_before(store: EventStore, time: datetime, head: int) -> int:
    """The last position recorded before `time`; times never go back along the log."""
    low, high = 0, head
    while low < high:
        middle = (low + high) // 2
        event = next(store.read_all(after=middle, limit=1), None)
        if event is None or event.recorded_at >= time:
            high = middle
        else:
            low = event.global_position
    return low


def is_of_type(event_type: str, name: str) -> bool:
    """Whether `name` means the type: ``account.v1.AccountOpenedEvent``, or less of it."""
    last = event_type.rpartition(".")[2]
    return name in (event_type, last, last.removesuffix("Event"))
