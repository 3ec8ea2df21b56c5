"""What must hold of a reaction: each event led to its command, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from eskit import RecordedEvent
from eskit.messaging.follower_status import FollowerStatus
from eskit.messaging.followers import load_status
from eskit.messaging.subscription import DeadLetter, Subscription
from eskit.messaging.subscriptions_store import list_dead_letters
from eskit.store.eventstore import EventStore
from tests.simulation.bank import PACKAGE
from tests.simulation.wrong import Wrong

NAME = "reward"
CAUSES = {f"{PACKAGE}.DepositedEvent", f"{PACKAGE}.PaidInEvent"}
EFFECT = f"{PACKAGE}.RewardedEvent"


class Reacting:
    """Compares what was done with what was to be done, and with what is said of it."""

    def __init__(
        self,
        store: EventStore,
        subscription: Subscription,
        clock: Any,
        is_erased: Callable[[RecordedEvent], bool],
    ) -> None:
        self._store = store
        self._is_erased = is_erased
        self._subscription = subscription
        self._clock = clock
        self._seen = 0
        self._done: Counter[str] = Counter()
        self._causes: list[RecordedEvent] = []

    @property
    def letters(self) -> list[DeadLetter]:
        """What was set aside and still waits, or was skipped."""
        found = list_dead_letters(self._store, NAME)
        return [letter for letter in found if letter.decision is None or letter.skipped]

    def status(self) -> FollowerStatus:
        """What is said of it."""
        return load_status(self._store, self._subscription)

    def check(self, events: list[Any]) -> None:
        """Nothing was done twice, and nothing passed that was not done."""
        done = self._count_done(events)
        status = self.status()
        aside = {letter.event.global_position for letter in self.letters}
        unhandled = {attempt.position for attempt in (*status.in_flight, *status.waiting)}
        for event in self._causes:
            times, position = done[event.event_id], event.global_position
            if times > 1:
                raise Wrong(f"The reaction to {position} was carried out {times} times")
            passed = position <= (status.position or 0)
            left = position in aside | unhandled or self._is_erased(event)
            if passed and not times and not left:
                raise Wrong(f"The reaction passed {position} without doing anything")
        if status.head != len(events) or status.set_aside > len(aside):
            raise Wrong(f"{status} of {len(events)} events, of which {aside} are set aside")

    def check_settled(self, events: list[Any]) -> None:
        """Everything is done, but what is never to be done."""
        status = self.status()
        if status.lag or status.error or status.set_aside or status.state != "idle":
            raise Wrong(f"The reaction does not come to the end: {status}")
        self.check(events)
        done = self._count_done(events)
        skipped = {letter.event.event_id for letter in self.letters}
        causes = {event.event_id for event in self._causes if not self._is_erased(event)}
        if left := causes - done.keys() - skipped:
            raise Wrong(f"Nothing was done about {sorted(left)}")

    def _count_done(self, events: list[Any]) -> Counter[str]:
        """How often each event was reacted to; `events` are those of the last time, and more."""
        for event in events[self._seen :]:
            if event.event_type == EFFECT:
                self._done[event.metadata.causation_id] += 1
            elif event.event_type in CAUSES:
                self._causes.append(event)
        self._seen = len(events)
        return self._done
