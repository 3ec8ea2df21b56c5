"""Publishing to a JetStream stream in order: no message is stored but behind the one before it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from eskit.errors import BrokerUnavailable, MessagingError
from eskit.nats.connection import Connection, broker_errors

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_EXPECTED_LAST_SEQUENCE = "Nats-Expected-Last-Sequence"
_EXPECTED_LAST_ID = "Nats-Expected-Last-Msg-Id"
_USUAL_END = b',"seq":%d}'
_UNKNOWN = -1
_YIELD_EVERY = 1000
_ACK_TIMEOUT = 5.0
_LOOK_EVERY = 0.25


class PublishInterrupted(MessagingError):
    """Publishing broke off in the middle: ask the broker how far it came."""

    code = "PUBLISH_INTERRUPTED"


class OutgoingMessage(NamedTuple):
    """A message as it is published."""

    subject: str
    headers: dict[str, str]
    data: bytes

    @property
    def header_size(self) -> int:
        """The bytes of its headers on their way, of which each character is one."""
        names, values = sum(map(len, self.headers)), sum(map(len, self.headers.values()))
        return names + values + len(": \r\n") * len(self.headers) + len("NATS/1.0\r\n\r\n")


def expect_last(headers: dict[str, str], sequence: int, message_id: str = "") -> None:
    """Let a message be taken only behind a sequence, and behind the message with an id.

    The id is what a batch needs: when one of its messages is lost, everything behind it fails. By
    the sequence alone it would be taken again as soon as another program has published, and the
    lost message would be missing.
    """
    headers[_EXPECTED_LAST_SEQUENCE] = str(sequence)
    if message_id:
        headers[_EXPECTED_LAST_ID] = message_id


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

    JetStream acknowledges what one connection publishes in order. So one number stands for all
    that is under way, where nats-py's ``publish_async`` keeps a future for every message.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._batch = 0
        self._prefix = ""
        self._inbox = ""
        self._done: asyncio.Future[int] | None = None
        self._reconnects = 0
        self._next = 0
        self._target = _UNKNOWN

    async def publish(self, messages: Iterable[OutgoingMessage], *, after_sequence: int) -> int:
        """Publish without waiting for each; the sequence of the last once all are acknowledged.

        Each is to expect the one before it: `expect_last`. Raises PublishRefused for the first
        that is not taken, and PublishInterrupted or BrokerUnavailable when it is not known what
        became of some.
        """
        done = await self._expect(after_sequence)
        publish, inbox, sequence = self._connection.publish, self._inbox, after_sequence
        with self._collecting(), broker_errors("Publishing"):
            for sequence, message in enumerate(messages, start=after_sequence + 1):
                subject, headers, data = message
                await publish(subject, data, reply=inbox, headers=headers)
                if done.done():
                    break
                if not sequence % _YIELD_EVERY:
                    # nats-py writes when somebody waits: so the server works while we encode.
                    await asyncio.sleep(0)
            self._end_at(sequence)
            return await self._wait(done)

    async def _expect(self, after_sequence: int) -> asyncio.Future[int]:
        """Get ready for acknowledgements after a sequence."""
        if not self._prefix:
            prefix = self._connection.new_inbox()
            with broker_errors("Publishing"):
                await self._connection.subscribe(f"{prefix}.*", cb=self._on_ack)
            self._prefix = prefix
        self._batch += 1
        self._reconnects = self._connection.stats["reconnects"]
        self._inbox = f"{self._prefix}.{self._batch}"
        self._next, self._target = after_sequence + 1, _UNKNOWN
        self._done = asyncio.get_running_loop().create_future()
        return self._done

    def _end_at(self, sequence: int) -> None:
        """Expect no acknowledgement behind a sequence."""
        self._target = sequence
        if self._done is not None and not self._done.done() and self._next > sequence:
            self._done.set_result(sequence)

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
                raise BrokerUnavailable("The connection to NATS was lost while publishing")
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
        # Nearly every one ends like this: an error says sequence 0, a duplicate says so behind it.
        taken = message.data.endswith(_USUAL_END % self._next)
        if not taken and (refused := self._find_refusal(json.loads(message.data))):
            done.set_exception(refused)
            return
        if self._next == self._target:
            done.set_result(self._target)
        self._next += 1

    def _find_refusal(self, answer: Mapping[str, Any]) -> PublishRefused | None:
        """Why an acknowledgement is not the next one; None if it is, however it is written."""
        taken = answer.get("seq") == self._next and not answer.get("duplicate")
        if taken and "error" not in answer:
            return None
        error = answer.get("error", {})
        return PublishRefused(
            error.get("description", "an unexpected sequence"),
            expected=self._next,
            number=error.get("err_code", 0),
            duplicate_of=answer.get("seq", 0) if answer.get("duplicate") else 0,
        )
