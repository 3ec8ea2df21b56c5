"""Where replies to requests arrive: one subscription for all, and a place for each request.

A request may be sent more than once with one place for its replies. The `request` of nats-py has
room for one reply each, and costs two timers and a task more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from eskit.nats.connection import Connection, broker_errors

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_STATUS = "Status"
_NO_RESPONDERS = "503"


def is_from_nobody(message: Msg) -> bool:
    """Whether the server says that no one listens on this subject."""
    return not message.data and (message.headers or {}).get(_STATUS) == _NO_RESPONDERS


class Replies:
    """The replies to one request. `under_way` is how many sendings of it have none so far."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.under_way = 0
        self._arrived: deque[Msg] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: Msg) -> None:
        """Take a reply."""
        self._arrived.append(message)
        self._wake()

    async def next(self, within: float) -> Msg | None:
        """The next reply; None if there is none in time."""
        if not self._arrived and within > 0:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(within, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
        return self._arrived.popleft() if self._arrived else None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Inbox:
    """The replies to all requests over one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open: dict[str, Replies] = {}
        self._opening = asyncio.Lock()
        self._prefix = ""
        self._last = 0

    async def expect(self) -> Replies:
        """A place for the replies to one request; `forget` it afterwards. BrokerUnavailable."""
        if not self._prefix:
            await self._subscribe()
        self._last += 1
        replies = Replies(f"{self._prefix}.{self._last}")
        self._open[replies.subject] = replies
        return replies

    def forget(self, replies: Replies) -> None:
        """Take no more of them."""
        del self._open[replies.subject]

    async def _subscribe(self) -> None:
        async with self._opening:
            if self._prefix:
                return
            prefix = self._connection.new_inbox()
            with broker_errors("Waiting for replies"):
                await self._connection.subscribe(f"{prefix}.*", cb=self._on_reply)
            self._prefix = prefix

    async def _on_reply(self, message: Msg) -> None:
        if (replies := self._open.get(message.subject)) is not None:
            replies.put(message)
