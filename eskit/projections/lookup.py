"""Whole events for those who ask, while handlers get only what they need of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from eskit.domain.events import RecordedEvent
from eskit.errors import EskitError, StoreUnavailable
from eskit.projections.log import EventLog

if TYPE_CHECKING:
    from eskit.projections.projection import EventContext

_PAGE = 512


class EventLookup:
    """Finds events of some types by their position, and reads ahead: who asks will ask again.

    `until` is the last position that is being handled; nothing is read behind it. `log_error` is
    what the log raised last: no fault of the handler that asked. `calling` is the context of the
    handler that is being called.
    """

    def __init__(self, log: EventLog, event_types: Iterable[str]) -> None:
        self.until = 0
        self.log_error: EskitError | None = None
        self.calling: EventContext | None = None
        self._log = log
        self._types = sorted(set(event_types))
        self._page: dict[int, RecordedEvent] = {}

    def load(self, position: int) -> RecordedEvent:
        """The event at a position; StoreUnavailable if the log has lost it."""
        if position not in self._page:
            try:
                self._page = self._read(position)
            except EskitError as error:
                self.log_error = error
                raise
        return self._page[position]

    def _read(self, position: int) -> dict[int, RecordedEvent]:
        events = self._log.read_all(
            after=position - 1,
            before=max(position, self.until) + 1,
            limit=_PAGE,
            event_types=self._types,
        )
        page = {event.global_position: event for event in events}
        if position not in page:
            raise StoreUnavailable(
                f"The log no longer has an event at {position:,}",
                hint="Was it restored or replaced? Then rebuild the projection.",
            )
        return page
