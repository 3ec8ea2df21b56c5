"""Typed clients: generated classes say what, a transport says how."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf.message import Message

from eskit.domain.ids import new_id
from eskit.domain.services import Method

if TYPE_CHECKING:
    from eskit.cqrs.answers import Handles
    from eskit.cqrs.lane import Lane
    from eskit.cqrs.options import CallOptions, Reply

_MANY = sys.maxsize // 2


class Transport(Protocol):
    """Carries one request to the service that answers it.

    Raises CommandRejected when the rules refuse, RequestTimeout, BrokerUnavailable and
    CallFailed otherwise.
    """

    async def request(self, method: Method, message: Message, options: CallOptions) -> Reply:
        """Send `message` to `method` and return the reply."""
        ...


class Client:
    """Base of generated clients."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def _call(self, method: Method, message: Message, options: CallOptions | None) -> Any:
        # Any: the generated method around this call names the response class of its rpc.
        from eskit.cqrs.options import CallOptions  # only who calls needs it

        reply = await self._transport.request(method, message, options or CallOptions())
        return reply.message


class InProcessTransport:
    """Answers requests with an application opened in this process, in worker threads.

    It raises the same errors as NatsTransport. At most `max_concurrent` commands, and as many
    queries, run at once. A call without a reply within its timeout raises RequestTimeout; its
    handler continues.
    """

    def __init__(self, app: Handles, *, max_concurrent: int = 64) -> None:
        self._app = app
        self._max_concurrent = max_concurrent
        self._lanes: tuple[object, Mapping[str, Lane]] = (None, {})

    async def request(self, method: Method, message: Message, options: CallOptions) -> Reply:
        """Run the request in a worker thread and return the reply."""
        # Generated modules import this one, and these load asyncio: 30 ms of start-up.
        from dataclasses import replace

        from eskit.cqrs.deadline import with_time_to_answer
        from eskit.cqrs.lane import StillRunning
        from eskit.cqrs.middleware import as_told

        try:
            lane, within = self._lane(method.kind), options.timeout
            in_time = replace(options, timeout=with_time_to_answer(within))
            return await lane.run(self._app, method, message, in_time, within=within)
        except StillRunning as running:
            raise running.told from None
        except Exception as error:
            told = as_told(method, error)
            if told is error:
                raise
            raise told from error

    def _lane(self, kind: str) -> Lane:
        """Where requests of a kind run, for the event loop that asks."""
        import asyncio
        import weakref

        from eskit.cqrs.lane import Lane

        loop, lanes = self._lanes
        if loop is not asyncio.get_running_loop():
            for lane in lanes.values():
                lane.close()
            lanes = {
                kind: Lane(kind, at_once=self._max_concurrent, waiting=_MANY)
                for kind in ("command", "query")
            }
            self._lanes = asyncio.get_running_loop(), lanes
            for lane in lanes.values():
                weakref.finalize(self, lane.close)
        return lanes[kind]


class ReadYourWrites:
    """A transport whose queries see its own commands, without waiting for those of others.

    Keeps the position of the last command's reply, and asks for at least that. Before the first
    command, queries see everything. Use one for each user or conversation; `position` can be passed
    on to another.
    """

    def __init__(self, transport: Transport, *, position: int = 0) -> None:
        self._transport = transport
        self.position = position

    async def request(self, method: Method, message: Message, options: CallOptions) -> Reply:
        """Send `message` on, a query with the position reached so far."""
        if method.kind == "query" and options.at_least is None and self.position:
            from dataclasses import replace

            options = replace(options, at_least=self.position)
        reply = await self._transport.request(method, message, options)
        self.position = max(self.position, reply.global_position)
        return reply


def with_command_id(method: Method, options: CallOptions) -> CallOptions:
    """`options` with a command id, so that a resend of the same call is recognised."""
    if method.kind == "query" or options.command_id:
        return options
    from dataclasses import replace

    return replace(options, command_id=new_id())
