"""Subscriptions: named followers of events that handle each at least once, in stream order.

What a subscription has handled is a position, and the few streams that are not that far yet, kept
under the subscription's name. After a crash it resumes after them, so order within a stream holds
over restarts too, which redelivery by a broker could not promise.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeAlias

from eskit.clock import Clock
from eskit.domain.events import RecordedEvent
from eskit.errors import InvalidArgument, SubscriptionTaken
from eskit.messaging.pauses import new_pause, new_resume, not_paused, paused_already
from eskit.messaging.tail import TailRequest
from eskit.processes.holding import Holder

EventHandler: TypeAlias = Callable[[RecordedEvent], Awaitable[None] | None]
"""Handles an event: a coroutine function, or a plain one, which runs in a worker thread."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """The name of a subscription, its events, and how often they are tried.

    `start` says where the very first run begins: ``"first"``, ``"new"``, a position to begin
    after, or a time; later runs resume where the last one ended. A handler that raises is called
    again after each pause of `backoff` in turn (the last one repeats), `max_deliveries` times in
    all; then the event becomes a dead letter, after one of the errors in `give_up_on` at once.
    Meanwhile only events of the same stream wait.
    """

    name: str
    start: Literal["first", "new"] | int | datetime = "first"
    event_types: Sequence[str] = ()
    aggregates: Sequence[str] = ()
    stream: str = ""
    tenants: Sequence[str] = ()
    max_deliveries: int = 5
    backoff: Sequence[float] = (0.1, 1.0, 5.0, 15.0)
    give_up_on: tuple[type[Exception], ...] = ()
    max_concurrent: int = 16
    max_waiting: int = 256

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise InvalidArgument(
                f"{self.name!r} is not a subscription name",
                hint="Up to 64 letters, digits, '_' and '-', starting with a letter or digit.",
            )
        if self.max_deliveries < 1 or not self.backoff or min(self.backoff) < 0:
            raise InvalidArgument("A subscription delivers at least once, with pauses from 0 s")
        if self.max_concurrent < 1 or self.max_waiting < 1:
            raise InvalidArgument("A subscription handles at least one event at a time")

    def pause(self, deliveries: int) -> float:
        """Seconds to wait after so many deliveries."""
        return self.backoff[min(deliveries, len(self.backoff)) - 1]

    def request(self, after: int | None) -> TailRequest:
        """What to follow: behind a position, or from the start."""
        since = self.start if after is None and isinstance(self.start, datetime) else None
        return TailRequest(
            start="first",
            after=after,
            since=since,
            event_types=self.event_types,
            aggregates=self.aggregates,
            stream=self.stream,
            tenants=self.tenants,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What a handler raised last: at which event, in short, and when."""

    position: int
    error: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionState:
    """How far a subscription is, and who is at it.

    Every event up to `position` is handled, but for the streams of `unhandled`: each has there the
    first of its events that is not, with how often that was tried. `position` is None before the
    first; `store_id` and `event_id` say of which log, and which event that is, where that is known.

    `done` and `deliveries` are of events behind `position`: those that are handled all the same,
    and those that were tried. Only earlier versions of eskit have left such.

    `owner` is empty when no process runs the subscription, else it ends with a host and a process
    id, and `heartbeat` changes as long as one does.
    `running` says since when which event is being handled, `trouble` what was raised last.
    `follows` is what it asked for when a process ran it last; None if an earlier eskit did.
    """

    position: int | None = None
    store_id: str = ""
    event_id: str = ""
    unhandled: Mapping[int, int] = field(default_factory=dict)
    done: frozenset[int] = frozenset()
    deliveries: Mapping[int, int] = field(default_factory=dict)
    owner: str = ""
    heartbeat: int = 0
    running: Mapping[int, datetime] = field(default_factory=dict)
    trouble: Trouble | None = None
    follows: Subscription | None = None

    @property
    def holder(self) -> Holder | None:
        """The owner, if there is one that says its process id; an earlier eskit names no host."""
        _, *host, pid = self.owner.split(" ") if " " in self.owner else ("", "")
        return Holder(pid=int(pid), host="".join(host)) if pid.isdigit() else None

    @property
    def low(self) -> int:
        """Up to which position every event is handled."""
        return min(self.unhandled, default=(self.position or 0) + 1) - 1

    def up_to(self, position: int) -> SubscriptionState:
        """What of it holds for the events up to a position; nobody is at it."""
        return SubscriptionState(
            position=None if self.position is None else min(self.position, position),
            unhandled={at: n for at, n in self.unhandled.items() if at <= position},
            done=frozenset(done for done in self.done if done <= position),
            deliveries={at: n for at, n in self.deliveries.items() if at <= position},
            heartbeat=self.heartbeat + 1,
            follows=self.follows,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterDecision:
    """The decision about a dead letter, and its reason."""

    action: Literal["retried", "skipped"]
    reason: str
    decided_by: str
    decided_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that a subscription could not handle.

    It waits for a `decision`. `revision` is the bus's, of what it keeps of the letter.
    """

    subscription: str
    event: RecordedEvent
    error: str
    traceback: str
    deliveries: int
    failed_at: datetime
    decision: DeadLetterDecision | None = None
    revision: int = field(default=0, compare=False)

    @property
    def skipped(self) -> bool:
        """Whether an operator has skipped it."""
        return self.decision is not None and self.decision.action == "skipped"

    @property
    def text(self) -> str:
        """The event in a few words."""
        return event_text(self.event)


class Subscriptions(Protocol):
    """Where the progress of subscriptions is kept, and their dead letters."""

    async def load(self, name: str) -> tuple[SubscriptionState, int]:
        """The progress and its revision; a new one and 0 for an unknown name.

        Raises PlaceLost for what cannot be read.
        """
        ...

    async def save(self, name: str, progress: SubscriptionState, *, revision: int) -> int:
        """Replace the progress at that revision and return the new one.

        Raises SubscriptionTaken when it has changed meanwhile.
        """
        ...

    async def find_pause(self, name: str) -> str | None:
        """Why the subscription is paused; None if it is not."""
        ...

    async def pause(self, name: str, *, reason: str, by: str, clock: Clock) -> None:
        """Keep it where it is until it is resumed, also over restarts.

        Raises InvalidArgument without a reason, and for one that is paused.
        """
        ...

    async def resume(self, name: str, *, reason: str, by: str, clock: Clock) -> None:
        """End the pause, which stays on record.

        Raises InvalidArgument without a reason, NotFound if it is not paused.
        """
        ...

    async def add_dead_letter(self, letter: DeadLetter) -> None:
        """Set an event aside; once more replaces the former, unless that was skipped."""
        ...

    async def list_dead_letters(self, name: str) -> list[DeadLetter]:
        """Every dead letter there was, decided or not, by position."""
        ...

    async def list_names(self) -> list[str]:
        """The subscriptions that ever set an event aside, sorted."""
        ...

    async def replace_dead_letter(self, letter: DeadLetter, changed: DeadLetter) -> None:
        """Keep a letter as changed.

        Raises SubscriptionTaken when another decision was made since it was listed.
        """
        ...


class MemorySubscriptions:
    """Keeps them as long as the process lives."""

    def __init__(self) -> None:
        self._progress: dict[str, tuple[SubscriptionState, int]] = {}
        self._letters: dict[tuple[str, int], DeadLetter] = {}
        self._pauses: dict[str, str] = {}

    async def load(self, name: str) -> tuple[SubscriptionState, int]:
        """See Subscriptions."""
        return self._progress.get(name, (SubscriptionState(), 0))

    async def save(self, name: str, progress: SubscriptionState, *, revision: int) -> int:
        """See Subscriptions."""
        if self._progress.get(name, (SubscriptionState(), 0))[1] != revision:
            raise taken(name)
        self._progress[name] = (progress, revision + 1)
        return revision + 1

    async def find_pause(self, name: str) -> str | None:
        """See Subscriptions."""
        return self._pauses.get(name)

    async def pause(self, name: str, *, reason: str, by: str, clock: Clock) -> None:
        """See Subscriptions."""
        new_pause(reason=reason, by=by, clock=clock)
        if name in self._pauses:
            raise paused_already(name, self._pauses[name])
        self._pauses[name] = reason

    async def resume(self, name: str, *, reason: str, by: str, clock: Clock) -> None:
        """See Subscriptions."""
        new_resume(reason=reason, by=by, clock=clock)
        if self._pauses.pop(name, None) is None:
            raise not_paused(name)

    async def add_dead_letter(self, letter: DeadLetter) -> None:
        """See Subscriptions."""
        key = letter.subscription, letter.event.global_position
        former = self._letters.get(key)
        if former is None or not former.skipped:
            self._letters[key] = letter

    async def list_dead_letters(self, name: str) -> list[DeadLetter]:
        """See Subscriptions."""
        return [self._letters[key] for key in sorted(self._letters) if key[0] == name]

    async def list_names(self) -> list[str]:
        """See Subscriptions."""
        return sorted({name for name, _ in self._letters})

    async def replace_dead_letter(self, letter: DeadLetter, changed: DeadLetter) -> None:
        """See Subscriptions."""
        key = letter.subscription, letter.event.global_position
        if self._letters.get(key) != letter:
            raise decided_meanwhile(letter)
        self._letters[key] = changed


def event_text(event: RecordedEvent) -> str:
    """An event in a few words."""
    return f"{event.global_position:,} {event.event_type} of {event.stream}"


def taken(name: str) -> SubscriptionTaken:
    """The error of a subscription that another process has taken over."""
    return SubscriptionTaken(
        f"Subscription {name} was taken over by another process",
        hint="Run it once; a second process waits until the first is gone.",
    )


def decided_meanwhile(letter: DeadLetter) -> SubscriptionTaken:
    """The error of a dead letter that is not any more what it was when it was listed."""
    return SubscriptionTaken(
        f"{letter.text} has another decision since it was listed",
        hint=f"See what waits now: eskit deadletter list {letter.subscription}",
    )
