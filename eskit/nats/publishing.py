"""Publishing to a JetStream stream in order: no message is stored but behind the one before it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from eskit.errors import BrokerUnavailable, PublishInterrupted
from eskit.nats.connection import Connection, broker_errors
from eskit.nats.headers import MESSAGE_ID

if TYPE_CHECKING:
    from nats.aio.msg import Msg

EXPECTED_LAST_SEQUENCE = "Nats-Expected-Last-Sequence"
EXPECTED_LAST_ID = "Nats-Expected-Last-Msg-Id"
_ACK_TIMEOUT = 5.0
_LOOK_EVERY = 0.25


class OutgoingMessage(NamedTuple):
    """A message as it is published; its headers have a message id."""

    subject: str
    headers: dict[str, str]
    data: bytes


class PublishRefused(Exception):
    """The stream did not take the message that should have got the sequence `expected`.

    `number` is JetStream's own; `duplicate_of` the sequence of the message with the same id.
    """

    def __init__(
        self, reason: str, *, expected: int, number: int = 0, duplicate_of: int = 0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.expected = expected
        self.number = number
        self.duplicate_of = duplicate_of

    def interruption(self) -> PublishInterrupted:
        """What to raise when nothing is wrong with the message."""
        return PublishInterrupted(f"The stream is not where it was: {self.reason}")


class OrderedPublisher:
    """Publishes batches, one at a time, and collects their acknowledgements in an inbox of its own.

    Each publish names the sequence that must be the stream's last, and within a batch also the
    message id. When one is lost, or somebody else publishes, everything behind it fails. By the
    sequence alone it would be taken again as soon as the sequence fits, and what failed would be
    missing.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._batch = 0
        self._prefix = ""
        self._inbox = ""
        self._done: asyncio.Future[int] | None = None
        self._reconnects = 0
        self._next = 0
        self._target = 0

    async def publish(self, messages: Sequence[OutgoingMessage], *, after_sequence: int) -> int:
        """Publish without waiting for each; the sequence of the last once all are acknowledged.

        Adds the headers that it needs. Raises PublishRefused for the first that is not taken, and
        PublishInterrupted or BrokerUnavailable when what became of some is not known.
        """
        done = await self._expect(after_sequence, len(messages))
        with self._collecting(), broker_errors("Publishing"):
            before = ""
            for sequence, (subject, headers, data) in enumerate(messages, start=after_sequence):
                headers[EXPECTED_LAST_SEQUENCE] = str(sequence)
                if before:
                    headers[EXPECTED_LAST_ID] = before
                before = headers[MESSAGE_ID]
                await self._connection.publish(subject, data, reply=self._inbox, headers=headers)
                if done.done():
                    break
            return await self._wait(done)

    async def _expect(self, after_sequence: int, count: int) -> asyncio.Future[int]:
        """Get ready for `count` acknowledgements after a sequence."""
        if not self._prefix:
            prefix = self._connection.new_inbox()
            with broker_errors("Publishing"):
                await self._connection.subscribe(f"{prefix}.*", cb=self._on_ack)
            self._prefix = prefix
        self._batch += 1
        self._reconnects = self._connection.stats["reconnects"]
        self._inbox = f"{self._prefix}.{self._batch}"
        self._next, self._target = after_sequence + 1, after_sequence + count
        self._done = asyncio.get_running_loop().create_future()
        return self._done

    async def _wait(self, done: asyncio.Future[int]) -> int:
        """The last sequence, when every acknowledgement is there.

        Gives up when none came for some seconds or the connection is lost, also when it is back
        by now: what was on its way is gone.
        """
        before, since = self._next, asyncio.get_running_loop().time()
        while not done.done():
            await asyncio.wait([done], timeout=_LOOK_EVERY)
            if self._next != before:
                before, since = self._next, asyncio.get_running_loop().time()
            elif self._is_disconnected():
                raise BrokerUnavailable("NATS went away while publishing")
            elif asyncio.get_running_loop().time() - since > _ACK_TIMEOUT:
                raise PublishInterrupted("JetStream did not acknowledge in time")
        return done.result()

    def _is_disconnected(self) -> bool:
        connection = self._connection
        return not connection.is_connected or connection.stats["reconnects"] != self._reconnects

    @contextlib.contextmanager
    def _collecting(self) -> Iterator[None]:
        """Let go of the batch at the end of the block, however it ends."""
        try:
            yield
        finally:
            if self._done is not None:
                self._done.cancel()
            self._done = None

    async def _on_ack(self, message: Msg) -> None:
        done = self._done
        if done is None or done.done() or message.subject != self._inbox:
            return
        if message.headers is not None:
            done.set_exception(BrokerUnavailable("No JetStream stream takes the events"))
            return
        answer = json.loads(message.data)
        if "error" in answer or answer.get("seq") != self._next or answer.get("duplicate"):
            error = answer.get("error", {})
            done.set_exception(
                PublishRefused(
                    error.get("description", "an unexpected sequence"),
                    expected=self._next,
                    number=error.get("err_code", 0),
                    duplicate_of=answer.get("seq", 0) if answer.get("duplicate") else 0,
                )
            )
            return
        if self._next == self._target:
            done.set_result(self._target)
        self._next += 1
