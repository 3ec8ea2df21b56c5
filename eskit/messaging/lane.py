"""The events of one stream on their way to a handler, one after another."""

from __future__ import annotations

from collections import deque

from eskit.domain.events import RecordedEvent


class StreamLane:
    """What waits of one stream: some events in hand, and where to read on for more.

    `first` is the position of the first event that is not handled. `behind` is that of the first
    event behind those in hand, None if there is none: an event that is tried again later, and what
    comes behind it, is not kept in memory but read again.
    """

    __slots__ = ("behind", "first", "limit", "reading", "waiting")

    def __init__(self, first: int, *, limit: int, behind: int | None = None) -> None:
        self.first = first
        self.limit = limit
        self.behind = behind
        self.reading = False
        self.waiting: deque[RecordedEvent] = deque()

    @property
    def takes(self) -> bool:
        """Whether the next event of the stream may join those in hand."""
        return self.behind is None and not self.reading and len(self.waiting) < self.limit

    def leave(self, position: int) -> None:
        """Note that an event comes behind those in hand, to be read later."""
        if self.behind is None:
            self.behind = position

    def put_down(self) -> int:
        """Let go of the events in hand, to be read again; how many they were."""
        count = len(self.waiting)
        self.behind = self.first
        self.waiting.clear()
        return count

    def next(self) -> int | None:
        """The position of the event behind the first one, if there is one."""
        if len(self.waiting) > 1:
            return self.waiting[1].global_position
        return self.behind
