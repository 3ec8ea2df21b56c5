"""An ordered reader of a JetStream stream: everything after a sequence, in order, or an error.

A pull consumer without acknowledgements, in memory, for one sitting: when anything is amiss the
reader is thrown away, and a new one is opened behind the last message that was seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Self

from eskit.errors import BrokerUnavailable, MessagingError
from eskit.nats.connection import Connection, broker_errors
from eskit.nats.jetstream import create_reader, delete_reader

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

_BATCH = 1000
_EXPIRES = 30.0
_HEARTBEAT = 1.0
_SILENCE = 2.5
_LOOK_EVERY = 0.25
_INACTIVE = 60.0
_REQUEST_OVER = "408"
_HEARTBEAT_STATUS = "100"
_TOKENS_WITH_DOMAIN = 11


def _never() -> bool:
    return False


class Delivery(NamedTuple):
    """A message with its sequence and how many are still to come."""

    sequence: int
    pending: int
    message: Msg


class StreamReader:
    """Reads from `start` on; an asynchronous context manager.

    `pending` is how many messages there were to read when it was opened, or after the last one.
    """

    def __init__(
        self, connection: Connection, stream: str, *, start: int, subjects: Sequence[str] = ()
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._start = start
        self._subjects = subjects
        self._messages: list[Msg] = []
        self._arrived = asyncio.Event()
        self._consumer = ""
        self._subscription: Subscription | None = None
        self._reconnects = 0
        self._requested = 0
        self._delivered = 0
        self._heard = 0.0
        self._failure = ""
        self.pending = 0

    async def __aenter__(self) -> Self:
        self._reconnects = self._connection.stats["reconnects"]
        self._consumer, self.pending = await create_reader(
            self._connection,
            self._stream,
            start=self._start,
            subjects=self._subjects,
            inactive=_INACTIVE,
        )
        self._inbox = self._connection.new_inbox()
        with broker_errors("Reading events"):
            self._subscription = await self._connection.subscribe(
                self._inbox, cb=self._on_message, pending_bytes_limit=-1, pending_msgs_limit=-1
            )
        self._heard = asyncio.get_running_loop().time()
        return self

    async def __aexit__(self, *exc: object) -> None:
        # The server removes an unused consumer by itself: failing here costs nothing.
        with contextlib.suppress(MessagingError), broker_errors("Reading events"):
            if self._subscription is not None:
                await self._subscription.unsubscribe()
            if self._connection.is_connected:
                await delete_reader(self._connection, self._stream, self._consumer)

    async def read(self, *, is_over: Callable[[], bool] = _never) -> list[Delivery]:
        """The next messages, waiting for them; none only when `is_over` and none is to come.

        Raises BrokerUnavailable when the reader can no longer be trusted to be complete.
        """
        while not self._messages:
            if self._failure:
                raise BrokerUnavailable(self._failure)
            over = is_over()
            if self._requested <= 0:
                await self._request()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY):
                    await self._arrived.wait()
            self._arrived.clear()
            self._check_alive()
            if over and not self._messages and not self.pending:
                return []
        messages, self._messages = self._messages, []
        self._heard = asyncio.get_running_loop().time()
        deliveries = [self._deliver(message) for message in messages]
        if self._requested <= 0:
            await self._request()
        return deliveries

    async def _request(self) -> None:
        order = {
            "batch": _BATCH,
            "expires": round(_EXPIRES * 1e9),
            "idle_heartbeat": round(_HEARTBEAT * 1e9),
        }
        self._requested = _BATCH
        with broker_errors("Reading events"):
            await self._connection.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
                json.dumps(order).encode(),
                reply=self._inbox,
            )

    async def _on_message(self, message: Msg) -> None:
        if message.reply:
            self._requested -= 1
            self._messages.append(message)
            self._arrived.set()
            return
        self._heard = asyncio.get_running_loop().time()
        headers = message.headers or {}
        status = headers.get("Status", "")
        if status == _REQUEST_OVER:
            self._requested = 0
        elif status != _HEARTBEAT_STATUS:
            self._failure = f"The reader ended: {status} {headers.get('Description', '')}"
        self._arrived.set()

    def _check_alive(self) -> None:
        if self._messages or self._failure:
            return
        if not self._connection.is_connected:
            raise BrokerUnavailable("NATS is away")
        if self._connection.stats["reconnects"] != self._reconnects:
            raise BrokerUnavailable("NATS was away")
        if asyncio.get_running_loop().time() - self._heard > _SILENCE:
            raise BrokerUnavailable("JetStream went silent")

    def _deliver(self, message: Msg) -> Delivery:
        # $JS.ACK.[domain.account.]stream.consumer.delivered.sequence.consumer sequence.time.pending
        tokens = message.reply.split(".")
        first = 7 if len(tokens) >= _TOKENS_WITH_DOMAIN else 5
        self._delivered += 1
        if int(tokens[first + 1]) != self._delivered:
            raise BrokerUnavailable("A message was lost on the way")
        self.pending = int(tokens[first + 3])
        return Delivery(int(tokens[first]), self.pending, message)
