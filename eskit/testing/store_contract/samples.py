"""Events, commands and a clock for the tests of stores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from eskit.clock import SystemClock
from eskit.domain.claims import Claim
from eskit.domain.commands import Command
from eskit.domain.events import Metadata, NewEvent, RecordedEvent
from eskit.domain.streams import ANY
from eskit.domain.time import EPOCH, to_microseconds
from eskit.store.eventstore import EventStore
from eskit.store.records import Snapshot

COMMAND_TTL = timedelta(days=7)
TEXT, NUMBER = "google.protobuf.StringValue", "google.protobuf.Int64Value"


class SettableClock(SystemClock):
    """A clock whose date stands still until it is moved; waiting takes the time of the machine."""

    def __init__(self) -> None:
        self._now = datetime(2030, 1, 1, tzinfo=UTC)

    @property
    def now(self) -> datetime:
        """The date it stands at."""
        return self._now

    def microseconds(self) -> int:
        """The same since 1970."""
        return to_microseconds(self._now)

    def move(self, **change: float) -> None:
        """Move by a timedelta, given as its arguments; negative ones set the clock back."""
        self._now += timedelta(**change)


def pass_days(store: EventStore, clock: SettableClock, days: int) -> None:
    """Let days pass on each of which a command is recorded, so that nobody doubts them."""
    for _ in range(days):
        clock.move(days=1)
        store.append(
            "Calendar-1", [], expected_version=ANY, command=command(f"day {clock.now:%Y-%m-%d}")
        )


def text(value: str, *claims: Claim, metadata: Metadata | None = None) -> NewEvent:
    """An event that holds a text."""
    return NewEvent(StringValue(value=value), claims=claims, metadata=metadata or Metadata())


def texts(*values: str) -> list[NewEvent]:
    """One event for each text."""
    return [text(value) for value in values]


def number(value: int) -> NewEvent:
    """An event of another type."""
    return NewEvent(Int64Value(value=value))


def values(events: Iterator[RecordedEvent]) -> list[object]:
    """What the events hold."""
    return [_value(event.message) for event in events]


def _value(message: Message) -> object:
    assert isinstance(message, StringValue | Int64Value)
    return message.value


def command(command_id: str, *, fingerprint: str = "Open", response: bytes = b"ok") -> Command:
    """The record of a command."""
    return Command(id=command_id, fingerprint=fingerprint, response=response)


def appended(store: EventStore, stream: str, count: int, *, after: int = 0) -> list[RecordedEvent]:
    """So many new events of a stream, as they are read back."""
    store.append(stream, texts(*"x" * count), expected_version=after)
    return list(store.read_stream(stream, after=after))


def snapshot(event: RecordedEvent, *, schema: str = "a") -> Snapshot:
    """A snapshot after an event."""
    return Snapshot(
        stream=event.stream,
        tenant=event.tenant,
        version=event.version,
        event_id=event.event_id,
        schema=schema,
        fold_version=1,
        created_at=EPOCH,
        checksum="",
        state=f"state {event.version}".encode(),
    )
