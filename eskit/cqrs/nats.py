"""Commands and queries over NATS: the services of an app, and the transport of its clients."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError, Message

from eskit.cqrs import wire
from eskit.cqrs.answers import Handles
from eskit.cqrs.authorisation import Authenticator, nobody
from eskit.cqrs.clients import with_command_id
from eskit.cqrs.deadline import unanswered
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.requests import Failure, Requests, failed
from eskit.cqrs.responses import (
    HANDLER_TIMEOUT,
    INTERNAL_ERROR,
    INVALID_MESSAGE_TYPE,
    INVALID_REQUEST,
    OVERLOADED,
    REQUEST_TOO_LARGE,
    UNAVAILABLE,
    success,
    unpack,
)
from eskit.domain.messages import encode
from eskit.domain.services import Method, ServiceType
from eskit.domain.subjects import DEFAULT_NAMES, RESERVED
from eskit.errors import (
    BrokerUnavailable,
    CallFailed,
    InvalidArgument,
    ProjectError,
    RequestTimeout,
)
from eskit.nats.connection import Connection, broker_errors
from eskit.nats.inbox import Inbox, Replies, is_from_nobody
from eskit.nats.micro import ERROR_HEADER, Answer, Endpoint, MicroService
from eskit.schema.response_pb2 import Response

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_log = logging.getLogger("eskit.services")

_HEADERS_AT_MOST = 16 * 1024
_REJECTED = 422
_FAILURE_CODES = {
    INVALID_REQUEST: 400,
    INVALID_MESSAGE_TYPE: 400,
    REQUEST_TOO_LARGE: 413,
    OVERLOADED: 503,
    HANDLER_TIMEOUT: 504,
    INTERNAL_ERROR: 500,
    **dict.fromkeys(UNAVAILABLE, 503),
}


class NatsServices:
    """Answers the methods of services over one connection: a micro service for each."""

    def __init__(
        self,
        requests: Requests,
        connection: Connection,
        services: Sequence[ServiceType],
        *,
        prefix: str = DEFAULT_NAMES.prefix,
        version: str = "0.1.0",
    ) -> None:
        self.name = "services"
        self._requests = requests
        self._connection = connection
        self._served = [service.name for service in services]
        self._services = [self._make(service, version, prefix) for service in services]

    @property
    def service_names(self) -> list[str]:
        """The names under which NATS knows the services."""
        return [service.name for service in self._services]

    async def start(self) -> None:
        """Answer requests from now on."""
        for service in self._services:
            await service.start()
            _log.info("Answering %s", ", ".join(end.subject for end in service.endpoints))

    async def stop(self, within: float = 5.0) -> None:
        """Take no more requests, and give those under way `within` seconds; idempotent.

        Those that take longer are answered HANDLER_TIMEOUT.
        """
        give_up = self._requests.give_up
        await asyncio.gather(*(service.stop(within, give_up=give_up) for service in self._services))
        self._requests.close()

    async def check_health(self) -> None:
        """Raise why requests are not answered; see `Requests`."""
        await self._requests.check_health()

    def describe(self) -> str:
        """Which handlers take longer than they should; empty if none does."""
        return self._requests.describe()

    def _make(self, service: ServiceType, version: str, prefix: str) -> MicroService:
        of_events = tuple(dict.fromkeys((prefix, *RESERVED)))
        for reserved in of_events:
            if f"{service.name}.".startswith(f"{reserved}."):
                raise ProjectError(
                    f"Service {service.name} would answer on subjects that belong to events",
                    hint=f"Choose a proto package that does not start with {reserved!r}, "
                    "or another nats_prefix.",
                )
        return MicroService(
            self._connection,
            name=service.name.replace(".", "-"),
            version=version,
            description=f"{service.name}: {len(service.methods)} methods",
            endpoints=[
                Endpoint(method.name, method.full_name, functools.partial(self._respond, method))
                for method in service.methods
            ],
            never_to=[f"{subject}." for subject in (*of_events, *self._served)],
        )

    async def _respond(self, method: Method, message: Msg) -> Answer:
        """The answer to one request, whatever it is and whatever happens."""
        try:
            headers = wire.Headers(message.headers)
            reply = await self._requests.answer(method, message.data, headers)
            return self._succeeded(reply)
        except Exception as error:  # noqa: BLE001 - the border: whatever is raised, the server lives
            return _answer_of(self._requests.explain(method, error))

    def _succeeded(self, reply: Reply) -> Answer:
        try:
            data = success(reply.message).SerializeToString()
        except InvalidArgument as error:
            return _failed(f"The response cannot be sent: {error.message}", error.hint)
        if len(data) + _HEADERS_AT_MOST > self._connection.max_payload:
            return _failed(
                f"The response has {len(data)} bytes, more than the NATS server takes",
                "Ask for less, or raise max_payload in the server's configuration.",
            )
        headers = {wire.GLOBAL_POSITION: str(reply.global_position)}
        if reply.already_processed:
            headers[wire.ALREADY_PROCESSED] = "true"
        return Answer(data=data, headers=headers)


async def serve_nats(
    app: Handles,
    connection: Connection,
    services: Sequence[ServiceType],
    *,
    max_concurrent: int = 64,
    max_waiting: int = 1024,
    timeout: float = 30.0,  # noqa: ASYNC109 - of each request, not of this call
    authenticate: Authenticator = nobody,
    prefix: str = DEFAULT_NAMES.prefix,
) -> NatsServices:
    """Start answering the services' methods; call `stop` on the result to end."""
    requests = Requests(
        app,
        max_concurrent=max_concurrent,
        max_waiting=max_waiting,
        timeout=timeout,
        authenticate=authenticate,
    )
    served = NatsServices(requests, connection, services, prefix=prefix)
    await served.start()
    return served


class NatsTransport:
    """Sends requests over a connection.

    `attempts` share the call's timeout: a request without a reply is sent again, a command with the
    same id, so it runs once however often it arrives. The first reply counts. A request that met an
    overloaded service is sent again as well. Nothing else is repeated.
    """

    def __init__(self, connection: Connection, *, attempts: int = 3) -> None:
        self._connection = connection
        self._attempts = attempts
        self._inbox = Inbox(connection)

    async def request(self, method: Method, message: Message, options: CallOptions) -> Reply:
        """Send `message` and return the reply.

        Raises what the service was answered with, as `eskit.cqrs.responses.unpack` says, and
        RequestTimeout, BrokerUnavailable, InvalidArgument.
        """
        options = with_command_id(method, options)
        payload = encode(message)
        if len(payload) + _HEADERS_AT_MOST > self._connection.max_payload:
            raise InvalidArgument(
                f"The request has {len(payload)} bytes, more than the NATS server takes",
                hint="Send less, or raise max_payload in the server's configuration.",
            )
        deadline = asyncio.get_running_loop().time() + options.timeout
        told: RequestTimeout | None = None
        replies = await self._inbox.expect()
        try:
            for left in range(self._attempts, 0, -1):
                remaining = deadline - asyncio.get_running_loop().time()
                if remaining <= 0:
                    break
                headers = wire.request_headers(message, options, remaining=remaining)
                await self._send(method, payload, headers, replies)
                try:
                    reply = await _first_reply(method, replies, within=remaining / left)
                except CallFailed as error:
                    if error.reason != OVERLOADED or left == 1:
                        raise
                    await asyncio.sleep(min(random.uniform(0.05, 0.25), remaining / left))
                except RequestTimeout as error:
                    told = error
                except BrokerUnavailable as gone:
                    raise told or gone from None  # who had the request has said more about it
                else:
                    if reply is not None:
                        return reply
        finally:
            self._inbox.forget(replies)
        raise told or unanswered(method, options.timeout)

    async def _send(
        self, method: Method, payload: bytes, headers: dict[str, str], replies: Replies
    ) -> None:
        with broker_errors(f"Calling {method.path}"):
            await self._connection.publish(
                method.full_name, payload, reply=replies.subject, headers=headers
            )
        replies.under_way += 1


def _failed(message: str, solution: str) -> Answer:
    return _answer_of(failed(INTERNAL_ERROR, message, solution=solution))


def _answer_of(failure: Failure) -> Answer:
    code, name = _FAILURE_CODES.get(failure.code, _REJECTED), failure.code
    if failure.rejected:
        code, name = _REJECTED, " ".join(name.split()) if name.isascii() else "REJECTED"
    return Answer(data=failure.response.SerializeToString(), error=name, error_code=code)


async def _first_reply(method: Method, replies: Replies, *, within: float) -> Reply | None:
    """What the first of the requests under way is answered with; None if none is in time.

    That nobody is there counts only when nobody has the request: who took an earlier one may have
    lost its connection for a moment, and is worth waiting for.
    """
    until = asyncio.get_running_loop().time() + within
    while replies.under_way:
        message = await replies.next(until - asyncio.get_running_loop().time())
        if message is None:
            break
        replies.under_way -= 1
        if not is_from_nobody(message):
            try:
                return _reply(method, message)
            except RequestTimeout:
                if not replies.under_way:
                    raise
        elif not replies.under_way:
            raise BrokerUnavailable(
                f"No service responds to {method.path}", hint="Start the service: eskit serve"
            )
    return None


def _reply(method: Method, message: Msg) -> Reply:
    headers = wire.Headers(message.headers)
    try:
        response = Response.FromString(message.data)
    except DecodeError as error:
        raise CallFailed("INVALID_RESPONSE", f"{method.path} did not answer as eskit") from error
    if not message.data and ERROR_HEADER in headers:
        raise CallFailed("SERVICE_ERROR", f"{method.path}: {headers[ERROR_HEADER]}")
    return Reply(
        message=unpack(response, method.response),
        global_position=wire.reply_position(headers),
        already_processed=headers.get(wire.ALREADY_PROCESSED) == "true",
    )
