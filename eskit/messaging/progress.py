"""How far a subscription is, in memory and under its name, and which process is at it."""

from __future__ import annotations

import asyncio
import logging
import math
import os
from datetime import datetime

from eskit.domain.ids import new_id
from eskit.errors import BrokerUnavailable, RequestTimeout, StoreUnavailable, SubscriptionTaken
from eskit.messaging.subscription import (
    Subscription,
    Subscriptions,
    SubscriptionState,
    Trouble,
    taken,
)
from eskit.processes.holding import host_name

_log = logging.getLogger("eskit.bus")

AWAY = BrokerUnavailable, RequestTimeout, StoreUnavailable
"""What passes: whatever keeps the progress is away."""


class SubscriptionProgress:
    """What one subscriber has handled, and how often it tried what it has not.

    `read` is the position up to which the log was read, None before the first event. Every event
    up to there is handled, but for the streams of `unhandled`: each has there the first of its
    events that is not, with how often that was tried. `revision` is that of what was loaded or
    saved last; `saving` says what keeps it from being saved, empty if nothing does.
    """

    def __init__(self, subscription: Subscription, subscriptions: Subscriptions) -> None:
        self.read: int | None = None
        self.event_id = ""
        self.store_id = ""
        self.unhandled: dict[int, int] = {}
        self.running: dict[int, datetime] = {}
        self.trouble: Trouble | None = None
        self.revision = 0
        self.saving = ""
        self._name = subscription.name
        self._subscription = subscription
        self._subscriptions = subscriptions
        self._owner = f"{new_id()} {host_name()} {os.getpid()}"
        self._done: frozenset[int] = frozenset()
        self._deliveries: dict[int, int] = {}
        self._undecided = False
        self._heartbeat = 0
        self._saved_at = -math.inf
        self._lock = asyncio.Lock()

    @property
    def position(self) -> int | None:
        """Up to which position every event is handled; None before the first."""
        return min(self.unhandled) - 1 if self.unhandled else self.read

    async def load(self) -> SubscriptionState:
        """What is kept under the name, whoever owns it, as what there is to go on from."""
        progress, self.revision = await self._subscriptions.load(self._name)
        self.read, self.event_id = progress.position, progress.event_id
        self.store_id = progress.store_id
        self.unhandled = dict(progress.unhandled)
        self.trouble = progress.trouble
        self._done, self._deliveries = progress.done, dict(progress.deliveries)
        return progress

    def is_silent(self, seconds: float) -> bool:
        """Whether nothing was saved for so long, so that another process may be the owner."""
        return asyncio.get_running_loop().time() - self._saved_at >= seconds

    def was_handled(self, position: int) -> bool:
        """Whether the event was handled before those in front of it, by an earlier eskit."""
        return position in self._done

    def reach(self, position: int, event_id: str) -> None:
        """Note that the log was read up to there."""
        if position <= (self.read or 0):
            return
        self.read, self.event_id = position, event_id
        if self._done and self.position is not None and self.position >= max(self._done):
            self._done = frozenset()

    def begin(self, position: int) -> None:
        """Note that an event is the first of its stream that is not handled."""
        self.unhandled[position] = self._deliveries.pop(position, 0)

    def finish(self, position: int) -> None:
        """Note that an event is handled or set aside."""
        del self.unhandled[position]
        if self.trouble is not None and self.trouble.position == position:
            self.trouble = None

    async def save(self) -> bool:
        """Save as the owner; False if that is away: then the next time has more to save.

        Raises SubscriptionTaken when another process has become the owner.
        """
        return await self._save(self._owner)

    async def give_back(self) -> None:
        """Save, and own it no longer."""
        await self._save("")

    async def _save(self, owner: str) -> bool:
        async with self._lock:
            began = asyncio.get_running_loop().time()
            try:
                if self._undecided:
                    await self._find_revision()
                self._undecided = True
                self._heartbeat += 1
                try:
                    self.revision = await self._subscriptions.save(
                        self._name, self._state(owner), revision=self.revision
                    )
                    self._undecided, self._saved_at = False, began
                except SubscriptionTaken:
                    # Or an earlier save of our own, sent before a reconnect, has only now arrived.
                    await self._find_revision()
                    return False
            except AWAY as error:
                if not self.saving:
                    _log.warning("Subscription %s cannot save: %s", self._name, error)
                self.saving = str(error)
                return False
            if self.saving:
                _log.warning("Subscription %s saves again", self._name)
            self.saving = ""
            return True

    async def _find_revision(self) -> None:
        """After a save without an answer: it was lost, carried out, or overtaken by another's."""
        progress, revision = await self._subscriptions.load(self._name)
        if revision != self.revision and progress.owner != self._owner:
            raise taken(self._name)
        self.revision, self._undecided = revision, False

    @property
    def state(self) -> SubscriptionState:
        """What there is to save now."""
        return self._state(self._owner)

    def _state(self, owner: str) -> SubscriptionState:
        return SubscriptionState(
            position=self.read,
            store_id=self.store_id,
            event_id=self.event_id,
            unhandled=dict(self.unhandled),
            done=self._done,
            deliveries=dict(self._deliveries),
            owner=owner,
            heartbeat=self._heartbeat,
            running=dict(self.running) if owner else {},
            trouble=self.trouble,
            follows=self._subscription,
        )
