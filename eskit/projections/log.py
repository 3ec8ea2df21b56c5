"""The log that projections read: an event store, or what a relay has made of one elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeGuard

from eskit.domain.events import LogRow, RecordedEvent
from eskit.store.port import View
from eskit.store.records import Erasure


class EventLog(Protocol):
    """The reading side of an EventStore. Thread-safe; every bound is exclusive."""

    @property
    def store_id(self) -> str:
        """The UUID of the store whose log it is."""
        ...

    def head_position(self) -> int:
        """The position of the last event; 0 for an empty log."""
        ...

    def read_log_rows(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        event_types: Sequence[str] = (),
    ) -> Iterator[LogRow]:
        """The log forward with only what handling needs, by the thousand."""
        ...

    def read_all(
        self,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        backward: bool = False,
        event_types: Sequence[str] = (),
    ) -> Iterator[RecordedEvent]:
        """The log in either direction, for a look at a few events."""
        ...

    def find_event(self, global_position: int) -> RecordedEvent | None:
        """The event at a position, if there is one."""
        ...

    def count_events(
        self, *, after: int = 0, before: int | None = None, event_types: Sequence[str] = ()
    ) -> int:
        """How many events lie between two positions; of all types unless some are named."""
        ...

    def wait(self, after: int, timeout: float) -> bool:
        """Block until there is an event after a position, at most `timeout` seconds."""
        ...


class Placed(Protocol):
    """A log whose events have a place besides their position, by which what is missing shows.

    A checkpoint keeps the place, as a text that only the log understands.
    """

    stretch: int
    """How many positions to read at most at a time, so that who reads can be stopped soon."""

    def place_of(self, position: int) -> str:
        """The place of an event that the log has."""
        ...

    def find_mismatch(self, store_id: str, position: int, event_id: str, place: str) -> str:
        """Why no follower can resume after an event, in a clause; empty if one can."""
        ...


def is_placed(log: EventLog) -> TypeGuard[Placed]:
    """Whether it is such a log."""
    return hasattr(log, "place_of")


def count_erasures(log: EventLog) -> int:
    """How often streams of a log were erased; 0 for a log that keeps no account of that."""
    view_of: Callable[[], AbstractContextManager[View]] | None = getattr(log, "view", None)
    if view_of is None:
        return 0
    with view_of() as view:
        return view.count(Erasure)
