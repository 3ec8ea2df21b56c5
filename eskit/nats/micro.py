"""A NATS micro service: discoverable, with statistics, and really concurrent.

The protocol is NATS ADR-32 (``$SRV.PING``, ``INFO`` and ``STATS``; queue group ``q``), so that
``nats micro ls`` and friends see it. The service of nats-py answers an endpoint's requests one
after another and sends the text of exceptions to clients; here each request is a task.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from eskit.clock import SYSTEM_CLOCK
from eskit.domain.ids import new_id
from eskit.errors import MessagingError
from eskit.nats.connection import Connection, broker_errors

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

QUEUE_GROUP = "q"
ERROR_HEADER = "Nats-Service-Error"
ERROR_CODE_HEADER = "Nats-Service-Error-Code"
_OF_THE_SERVER = "$"
_ANSWERED_WITHIN = 1.0

_log = logging.getLogger("eskit.services")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an endpoint replies; `error` is its short name if it is a failure."""

    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    error_code: int = 0


Responder: TypeAlias = "Callable[[Msg], Awaitable[Answer]]"
"""Answers one request, and never raises."""


@dataclass(slots=True)
class Endpoint:
    """One subject of a service, with what has happened on it so far."""

    name: str
    subject: str
    respond: Responder
    requests: int = 0
    errors: int = 0
    nanoseconds: int = 0
    last_error: str = ""

    def count(self, answer: Answer, nanoseconds: int) -> None:
        """Add one answered request to the statistics."""
        self.requests += 1
        self.nanoseconds += nanoseconds
        if answer.error:
            self.errors += 1
            self.last_error = f"{answer.error_code}:{answer.error}"

    def info(self) -> dict[str, Any]:
        """As ``$SRV.INFO`` shows it."""
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": QUEUE_GROUP,
            "metadata": {},
        }

    def stats(self) -> dict[str, Any]:
        """As ``$SRV.STATS`` shows it."""
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": QUEUE_GROUP,
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": self.nanoseconds,
            "average_processing_time": self.nanoseconds // max(self.requests, 1),
            "data": None,
        }


class MicroService:
    """One service on a connection: its endpoints and the subjects that describe it."""

    def __init__(
        self,
        connection: Connection,
        *,
        name: str,
        version: str,
        description: str,
        endpoints: Sequence[Endpoint],
        metadata: Mapping[str, str] | None = None,
        never_to: Sequence[str] = (),
    ) -> None:
        """`never_to` are prefixes of subjects that it never sends a reply to."""
        self._connection = connection
        self._never_to = (_OF_THE_SERVER, *never_to)
        self.name = name
        self.id = new_id()
        self._version = version
        self._description = description
        self._metadata = dict(metadata or {})
        self.endpoints = list(endpoints)
        self._started = ""
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Answer from now on; returns when the server knows every subject. Idempotent."""
        if self._subscriptions:
            return
        self._started = f"{SYSTEM_CLOCK.now:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        with broker_errors(f"Starting service {self.name}"):
            for endpoint in self.endpoints:
                await self._subscribe(endpoint.subject, self._on_request(endpoint), QUEUE_GROUP)
            for verb, describe in self._descriptions().items():
                for end in ("", f".{self.name}", f".{self.name}.{self.id}"):
                    await self._subscribe(f"$SRV.{verb}{end}", self._on_question(describe))
            # Twice: the ping of a flush overtakes what is still buffered.
            await self._connection.flush()
            await self._connection.flush()

    async def stop(self, within: float, *, give_up: Callable[[], object] = lambda: None) -> None:
        """Take no more requests and wait for those under way.

        `give_up` is to have those answered that take longer.
        """
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            try:
                with broker_errors(f"Stopping service {self.name}"):
                    await subscription.unsubscribe()
            except MessagingError as error:
                _log.debug("%s", error)
        if not self._tasks:
            return
        _, left = await asyncio.wait(set(self._tasks), timeout=within)
        if left:
            give_up()
            _, left = await asyncio.wait(left, timeout=_ANSWERED_WITHIN)
        for task in left:
            task.cancel()

    def _descriptions(self) -> dict[str, Callable[[], dict[str, Any]]]:
        return {"PING": self._ping, "INFO": self._info, "STATS": self._stats}

    def _ping(self) -> dict[str, Any]:
        return self._identity("ping_response")

    def _info(self) -> dict[str, Any]:
        return {
            **self._identity("info_response"),
            "description": self._description,
            "endpoints": [endpoint.info() for endpoint in self.endpoints],
        }

    def _stats(self) -> dict[str, Any]:
        return {
            **self._identity("stats_response"),
            "started": self._started,
            "endpoints": [endpoint.stats() for endpoint in self.endpoints],
        }

    def _identity(self, kind: str) -> dict[str, Any]:
        return {
            "type": f"io.nats.micro.v1.{kind}",
            "name": self.name,
            "id": self.id,
            "version": self._version,
            "metadata": self._metadata,
        }

    async def _subscribe(
        self, subject: str, callback: Callable[[Msg], Awaitable[None]], queue: str = ""
    ) -> None:
        subscription = await self._connection.subscribe(subject, queue=queue, cb=callback)
        self._subscriptions.append(subscription)

    def _on_request(self, endpoint: Endpoint) -> Callable[[Msg], Awaitable[None]]:
        async def start_task(message: Msg) -> None:
            if not self._may_answer(message):
                return
            task = asyncio.create_task(self._answer(endpoint, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return start_task

    def _on_question(
        self, describe: Callable[[], dict[str, Any]]
    ) -> Callable[[Msg], Awaitable[None]]:
        async def reply(message: Msg) -> None:
            if self._may_answer(message):
                await message.respond(json.dumps(describe()).encode())

        return reply

    def _may_answer(self, message: Msg) -> bool:
        """Whether its answer goes to an inbox.

        The service may publish where a client may not: elsewhere its answer would be taken for
        an event, a request or an order to the server.
        """
        if not message.reply.startswith(self._never_to):
            return True
        _log.warning(
            "A request to %s wants its answer on %r: left alone", message.subject, message.reply
        )
        return False

    async def _answer(self, endpoint: Endpoint, message: Msg) -> None:
        begun = time.perf_counter_ns()
        answer = await endpoint.respond(message)
        endpoint.count(answer, time.perf_counter_ns() - begun)
        headers = dict(answer.headers)
        if answer.error:
            headers[ERROR_HEADER] = answer.error
            headers[ERROR_CODE_HEADER] = str(answer.error_code)
        if not message.reply:
            return
        try:
            with broker_errors(f"Answering {endpoint.subject}"):
                await self._connection.publish(message.reply, answer.data, headers=headers or None)
        except MessagingError as error:
            _log.warning("%s", error)
