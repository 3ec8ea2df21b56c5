"""What a relay publishes through, and how far the log was published."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from eskit.domain.events import RecordedEvent
from eskit.errors import MessagingError


class EventUnpublishable(MessagingError):
    """No message to this NATS server can carry an event, as it stands; `reason` says why."""

    code = "EVENT_UNPUBLISHABLE"

    def __init__(self, position: int, stream: str, reason: str) -> None:
        super().__init__(
            f"The event at position {position} of the log, in {stream}, cannot be published: "
            f"{reason}",
            hint="Raise the server's limits, or publish the log without the event: "
            f"eskit relay --skip {position} --reason TEXT",
        )
        self.position = position
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEvent:
    """The last event in the broker's stream."""

    source: str
    position: int
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLog:
    """What the broker's stream has of the log.

    `sequence` counts what it ever took, also what has aged out. `created` tells the stream from
    an earlier one of the same `name`. `foreign` says what stands behind the last event, if that was
    not published by a relay.
    """

    name: str
    created: str
    sequence: int
    last: LastEvent | None
    foreign: str = ""


class Publisher(Protocol):
    """Publishes to one stream of a broker."""

    @property
    def source(self) -> str:
        """What marks the events of this store."""
        ...

    async def open(self) -> PublishedLog:
        """Create or check the stream. Raises BROKER_MISMATCH, BrokerUnavailable."""
        ...

    async def publish(self, events: Sequence[RecordedEvent], *, after_sequence: int) -> int:
        """Publish in order, expecting nothing else after `after_sequence`.

        Returns the new sequence: it stops before an event that cannot be published, and raises
        EventUnpublishable when that is the first. Raises PublishInterrupted or BrokerUnavailable;
        what was published by then are the first of `events`, without a gap.
        """
        ...

    async def check(self) -> None:
        """Raise BROKER_MISMATCH or PublishInterrupted if it is not what it was when opened."""
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
