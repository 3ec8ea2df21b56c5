"""How far a subscription is, in memory and under its name, and which process is at it."""

from __future__ import annotations

import asyncio
import logging

from eskit.domain.ids import new_id
from eskit.errors import BrokerUnavailable, RequestTimeout, SubscriptionTaken
from eskit.messaging.subscription import Progress, Subscriptions, taken

_log = logging.getLogger("eskit.bus")


class Standing:
    """What one subscriber has handled, and how often it tried what it has not.

    Everything up to `position` is handled. `read` is the position it reads on from, None before
    the first event. `deliveries` counts those of events that are not handled yet. `revision` is
    that of what was loaded or saved last.
    """

    def __init__(self, name: str, subscriptions: Subscriptions) -> None:
        self.read: int | None = None
        self.deliveries: dict[int, int] = {}
        self.revision = 0
        self._name = name
        self._subscriptions = subscriptions
        self._owner = new_id()
        self._unfinished: dict[int, None] = {}
        self._done: set[int] = set()
        self._undecided = False
        self._beat = 0
        self._saving = asyncio.Lock()

    @property
    def position(self) -> int | None:
        """Up to which position every event is handled; None before the first."""
        if self._unfinished:
            return next(iter(self._unfinished)) - 1
        return self.read

    @property
    def unfinished(self) -> int:
        """How many events were read and are not handled yet."""
        return len(self._unfinished)

    async def load(self) -> Progress:
        """What is kept under the name, whoever owns it, as what there is to go on from."""
        progress, self.revision = await self._subscriptions.load(self._name)
        self.read = progress.position
        self.deliveries = dict(progress.deliveries)
        self._done = set(progress.done)
        return progress

    def passes(self, position: int) -> bool:
        """Whether the event was handled before, by an earlier owner; then it is read, too."""
        if position not in self._done:
            return False
        self.read = position
        return True

    def begin(self, position: int) -> None:
        """Note that an event was read, and is to be handled."""
        self._unfinished[position] = None
        self.read = position

    def finish(self, position: int) -> None:
        """Note that an event is handled or set aside."""
        del self._unfinished[position]
        self.deliveries.pop(position, None)
        self._done.add(position)
        low = self.position
        if low is not None:
            self._done = {done for done in self._done if done > low}

    async def save(self) -> bool:
        """Save as the owner; False if the broker is away: then the next time has more to save.

        Raises SubscriptionTaken when another process has become the owner.
        """
        return await self._save(self._owner)

    async def give_back(self) -> None:
        """Save, and own it no longer."""
        await self._save("")

    async def _save(self, owner: str) -> bool:
        async with self._saving:
            try:
                if self._undecided:
                    await self._find_revision()
                self._undecided = True
                try:
                    self.revision = await self._subscriptions.save(
                        self._name, self._progress(owner), revision=self.revision
                    )
                    self._undecided = False
                except SubscriptionTaken:
                    # Or an earlier save of our own, sent before a reconnect, has only now arrived.
                    await self._find_revision()
                    return False
            except (BrokerUnavailable, RequestTimeout) as error:
                _log.warning("Subscription %s could not save: %s", self._name, error)
                return False
            return True

    async def _find_revision(self) -> None:
        """After a save without an answer: it was lost, carried out, or overtaken by another's."""
        progress, revision = await self._subscriptions.load(self._name)
        if revision != self.revision and progress.owner != self._owner:
            raise taken(self._name)
        self.revision, self._undecided = revision, False

    def _progress(self, owner: str) -> Progress:
        self._beat += 1
        return Progress(
            position=self.position,
            done=frozenset(self._done),
            deliveries=dict(self.deliveries),
            owner=owner,
            beat=self._beat,
        )
