"""Followers of a relay's stream in NATS: where they are, pausing and resetting them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta

from eskit.clock import SYSTEM_CLOCK, Clock
from eskit.domain.events import RecordedEvent
from eskit.domain.subjects import StreamNames
from eskit.errors import InvalidArgument, LogBroken, NotFound, PlaceLost
from eskit.messaging.bus import EventBus
from eskit.messaging.follower_status import FollowerStatus, Measured, Reset, make_status
from eskit.messaging.jetstream_source import JetStreamSource
from eskit.messaging.subscriber import LEASE
from eskit.messaging.subscription import Subscription, SubscriptionState
from eskit.messaging.subscriptions_nats import KeyValueSubscriptions
from eskit.nats.connection import Connection
from eskit.nats.jetstream import find_stream
from eskit.text.suggestions import suggestion


class NatsFollowers:
    """The subscriptions that keep their progress in NATS; looking at them creates nothing.

    Position, head and lag are those of the stream: of what the relay has published.
    """

    def __init__(
        self, connection: Connection, names: StreamNames, *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._connection, self._names, self._clock = connection, names, clock
        self._kept = KeyValueSubscriptions(connection, scope=names.stream)
        self._source = JetStreamSource(connection, stream=names.stream, prefix=names.prefix)
        self._bus = EventBus(self._source, self._kept, clock=clock)

    async def names(self) -> list[str]:
        """The subscriptions there are, running or not; sorted."""
        return await self._kept.list_followers()

    async def load_status(self, name: str) -> FollowerStatus:
        """Look a subscription up."""
        problem, progress, updated_at = "", SubscriptionState(), None
        try:
            message = await self._kept.find_progress(name)
            if message is not None:
                updated_at = message.stored_at
                progress, _ = await self._kept.load(name)
            await self._source.check(name, progress)
        except (PlaceLost, LogBroken) as error:
            problem = error.message
        return make_status(
            name,
            progress,
            await self._measure(progress),
            await self._kept.list_dead_letters(name),
            problem=problem,
            pause=await self._kept.find_pause(name),
            alive=bool(progress.owner) and await self._is_recent(updated_at),
            updated_at=updated_at,
            now=self._clock.now,
            kind="subscription",
            kept_in="nats",
        )

    async def pause(self, name: str, *, reason: str, by: str) -> None:
        """See EventBus. Raises NotFound for an unknown name."""
        await self._check_known(name)
        await self._bus.pause(name, reason=reason, by=by)

    async def resume(self, name: str, *, reason: str, by: str) -> None:
        """See EventBus. Raises NotFound for an unknown name, too."""
        await self._check_known(name)
        await self._bus.resume(name, reason=reason, by=by)

    async def head(self) -> int:
        """The position of the last event that was published."""
        return await self._source.head()

    async def plan_reset(self, name: str, after: int) -> Reset:
        """What a reset would do; changes nothing.

        Raises InvalidArgument for a place that the stream does not have, NotFound for an unknown
        name.
        """
        await self._check_known(name)
        head = await self._check_place(name, after)
        try:
            progress, _ = await self._kept.load(name)
        except PlaceLost:
            progress = SubscriptionState()
        known = progress.position is not None
        # Without a position any event may have been handled.
        seen = progress.position if progress.position is not None else head
        low = progress.low if known else after
        follows = progress.follows or Subscription(name=name)
        handled = await self._count(follows, after, seen)
        return Reset(
            name=name,
            before=low if known else None,
            after=after,
            again=handled - sum(at > after for at in progress.unhandled),
            skipped=await self._count(follows, low, after) if known else 0,
            kind="subscription",
        )

    async def reset(self, name: str, after: int) -> Reset:
        """Let a subscription resume after another position; a running one resumes there at once."""
        planned = await self.plan_reset(name, after)
        await self._bus.reset(name, after=after)
        return planned

    async def _check_known(self, name: str) -> None:
        known = await self.names()
        if name not in known:
            raise NotFound(
                f"No reaction or subscription {name!r}",
                hint=suggestion(name, known, "Subscriptions"),
            )

    async def _check_place(self, name: str, after: int) -> int:
        """The head of the stream; InvalidArgument if a subscription cannot resume there."""
        head = await self._source.head()
        if not 0 <= after <= head:
            raise InvalidArgument(
                f"Stream {self._names.stream} ends at {head:,}, so nothing can resume "
                f"after {after:,}",
                hint="Choose a position of the stream, or: --after now",
            )
        try:
            await self._source.check(name, SubscriptionState(position=after))
        except LogBroken as error:
            raise InvalidArgument(
                error.message, hint="Choose a later position, or: --after now"
            ) from error
        return head

    async def _is_recent(self, updated_at: datetime | None) -> bool:
        """Whether that is so short ago, by the server's clock, that a process is alive."""
        state = await find_stream(self._connection, self._names.stream)
        now = state.at if state is not None and state.at is not None else self._clock.now
        return updated_at is not None and now - updated_at < timedelta(seconds=2 * LEASE)

    async def _measure(self, progress: SubscriptionState) -> Measured:
        """What waits: the events of waiting streams, and those behind where it has read."""
        follows = progress.follows or Subscription(name="any")
        read = progress.position
        if read is None:
            read = await self._source.start_position(follows.start)
        lag, oldest = await self._measure_waiting(follows, progress)
        request = replace(follows.request(read), follow=False)
        counted = read is not None and request.by_subject
        if counted and read is not None:
            lag += await self._source.count(request, read)
        if not counted or (lag and oldest is None):
            async with aclosing(self._source.follow(request)) as events:
                async for event in events:
                    oldest = oldest or event.recorded_at
                    if counted:
                        break
                    lag += 1
        return Measured(head=await self._source.head(), lag=lag, oldest=oldest)

    async def _measure_waiting(
        self, follows: Subscription, progress: SubscriptionState
    ) -> tuple[int, datetime | None]:
        """How many events wait behind those that failed, up to where it has read, and since when.

        With those that failed, or are being handled.
        """
        found: list[datetime] = []
        streams: set[tuple[str, str]] = set()
        if progress.unhandled:
            async for event in self._between(follows, progress.low, progress.position or 0):
                stream = event.tenant, event.stream
                if event.global_position in progress.unhandled:
                    streams.add(stream)
                if stream in streams:
                    found.append(event.recorded_at)
        return len(found), min(found, default=None)

    async def _count(self, follows: Subscription, after: int, up_to: int) -> int:
        """How many events it handles, behind a position and up to another."""
        if up_to <= after:
            return 0
        request = follows.request(after)
        if request.by_subject:
            behind = await self._source.count(request, up_to)
            return await self._source.count(request, after) - behind
        return len([event async for event in self._between(follows, after, up_to)])

    async def _between(
        self, follows: Subscription, after: int, up_to: int
    ) -> AsyncGenerator[RecordedEvent, None]:
        request = replace(follows.request(after), follow=False)
        async with aclosing(self._source.follow(request)) as events:
            async for event in events:
                if event.global_position > up_to:
                    return
                yield event
