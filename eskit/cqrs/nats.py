"""Commands and queries over NATS: the services of an app, and the transport of its clients."""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from google.protobuf.message import DecodeError, Message

from eskit.cqrs import wire
from eskit.cqrs.answers import Handles
from eskit.cqrs.authorisation import Authenticator, nobody
from eskit.cqrs.clients import with_command_id
from eskit.cqrs.deadline import unanswered, with_time_to_answer
from eskit.cqrs.lane import Lane, LaneClosed, LaneFull, StillRunning
from eskit.cqrs.middleware import as_told, internal_error
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.refusals import Refusals
from eskit.cqrs.responses import (
    HANDLER_TIMEOUT,
    INTERNAL_ERROR,
    INVALID_MESSAGE_TYPE,
    INVALID_REQUEST,
    OVERLOADED,
    REQUEST_TOO_LARGE,
    UNAVAILABLE,
    as_rejection,
    failure,
    success,
    unpack,
)
from eskit.domain.messages import encode, message_type
from eskit.domain.services import Method, ServiceType
from eskit.domain.subjects import DEFAULT_NAMES, RESERVED
from eskit.errors import (
    BrokerUnavailable,
    CallFailed,
    CommandRejected,
    EskitError,
    InvalidArgument,
    OutOfTime,
    ProjectError,
    RequestTimeout,
)
from eskit.leavable import LeavableThreads
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
_REMARKS_AT_MOST = 20


@runtime_checkable
class ChecksStore(Protocol):
    """What serves may also say whether its store can be written."""

    def check_store(self) -> None:
        """Raise StoreUnavailable if it cannot."""
        ...


class NatsServices:
    """Answers the methods of services over one connection: a micro service for each.

    Of commands and of queries at most `max_concurrent` run at once, in worker threads, and at most
    `max_waiting` wait for their turn; any more are answered OVERLOADED. A request that has not been
    answered within `timeout` seconds, or within the caller's deadline, is answered HANDLER_TIMEOUT;
    its handler runs on, and keeps its place until it is done. Larger requests than `max_request`
    bytes are refused. Callers learn the code of a rejection, and that of a store or read model
    that cannot answer now; of a fault only an id, under which the log has the rest.
    """

    def __init__(
        self,
        app: Handles,
        connection: Connection,
        services: Sequence[ServiceType],
        *,
        max_concurrent: int = 64,
        max_waiting: int = 1024,
        timeout: float = 30.0,
        max_request: int = 1024 * 1024,
        authenticate: Authenticator = nobody,
        prefix: str = DEFAULT_NAMES.prefix,
        version: str = "0.1.0",
    ) -> None:
        self.name = "services"
        self._app = app
        self._check_store = app.check_store if isinstance(app, ChecksStore) else None
        self._connection = connection
        self._timeout = timeout
        self._max_request = max_request
        self._authenticate = authenticate
        self._lanes = {
            kind: Lane(kind, at_once=max_concurrent, waiting=max_waiting, hung_after=timeout)
            for kind in ("command", "query")
        }
        self._refusals = Refusals()
        self._remarks: set[str] = set()
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
        give_up = self._give_up
        await asyncio.gather(*(service.stop(within, give_up=give_up) for service in self._services))
        for lane in self._lanes.values():
            lane.close()

    def _give_up(self) -> None:
        given_up = Counter(
            method.path for lane in self._lanes.values() for method in lane.give_up()
        )
        for path, count in given_up.items():
            _log.warning("Stopped while %d of %s were at work or waited", count, path)

    async def check_health(self) -> None:
        """Raise why requests are not answered: the store is away, handlers hang, or too many come.

        A store that was away is asked again.
        """
        for lane in self._lanes.values():
            lane.check_health()
        if self._refusals.of_the_store is None:
            return
        if self._check_store is None:
            raise self._refusals.of_the_store
        with LeavableThreads(1, name="eskit-check") as threads:
            await asyncio.get_running_loop().run_in_executor(threads, self._check_store)
        self._refusals.store_is_back()

    def describe(self) -> str:
        """Which handlers take longer than they should; empty if none does."""
        return "; ".join(filter(None, (lane.describe() for lane in self._lanes.values())))

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
            request, options, within = self._read(method, message)
            lane = self._lanes[method.kind]
            reply = await lane.run(self._app, method, request, options, within=within)
            answer = self._succeeded(reply)
        except _Refused as refusal:
            return refusal.answer
        except LaneFull:
            return _failed(OVERLOADED, "Too many requests at once", solution="Try again later.")
        except LaneClosed:
            return _failed(OVERLOADED, "The service is shutting down", solution="Try again later.")
        except StillRunning as running:
            return _failed(HANDLER_TIMEOUT, running.told.message, solution=running.told.hint)
        except Exception as error:  # noqa: BLE001 - the border: whatever is raised, the server lives
            return self._answer_to(method, error)
        self._refusals.answered(method, reply)
        return answer

    def _read(self, method: Method, message: Msg) -> tuple[Message, CallOptions, float]:
        """The request, its options, and how long its sender waits.

        The endpoint alone decides which type it has.
        """
        if len(message.data) > self._max_request:
            raise _Refused(
                REQUEST_TOO_LARGE,
                f"{len(message.data)} bytes are more than the {self._max_request} allowed",
            )
        headers = wire.Headers(message.headers)
        self._remark(headers.check_names())
        expected = message_type(method.request)
        claimed = headers.get(wire.MESSAGE_TYPE, expected)
        if claimed != expected:
            raise _Refused(INVALID_MESSAGE_TYPE, f"{method.path} takes {expected}")
        try:
            request = method.request.FromString(message.data)
        except DecodeError:
            raise _Refused(INVALID_REQUEST, f"The body is not a {expected}") from None
        principal_id = self._authenticate(method, headers)
        within = wire.time_to_wait(headers, self._timeout)
        in_time = with_time_to_answer(within)
        options = wire.call_options(headers, principal_id=principal_id, timeout=in_time)
        return request, options, within

    def _remark(self, remarks: Sequence[str]) -> None:
        """Say once in the log what is odd about the headers of requests."""
        for remark in remarks:
            if remark not in self._remarks and len(self._remarks) < _REMARKS_AT_MOST:
                self._remarks.add(remark)
                _log.warning("%s", remark)

    def _answer_to(self, method: Method, error: Exception) -> Answer:
        """A verdict goes to the caller as it is; of a fault the caller gets an id."""
        try:
            return self._answer_that(method, error)
        except Exception as fault:  # noqa: BLE001 - what was raised may say nothing that can be sent
            told = internal_error(method, fault)
            return _failed(told.reason, told.message, solution=told.hint)

    def _answer_that(self, method: Method, error: Exception) -> Answer:
        told = as_told(method, error)
        rejection = as_rejection(told)
        if rejection is not None:
            return _rejection_answer(rejection)
        if told.code in UNAVAILABLE:
            # A middleware may already have put what may be told in place of what was raised.
            raised = (one for one in (error.__cause__, error) if isinstance(one, type(told)))
            self._refusals.add(method, next(raised, told))
        return _failed(_code_of(told), told.message, solution=told.hint)

    def _succeeded(self, reply: Reply) -> Answer:
        try:
            data = success(reply.message).SerializeToString()
        except InvalidArgument as error:
            return _failed(
                INTERNAL_ERROR,
                f"The response cannot be sent: {error.message}",
                solution=error.hint,
            )
        if len(data) + _HEADERS_AT_MOST > self._connection.max_payload:
            return _failed(
                INTERNAL_ERROR,
                f"The response has {len(data)} bytes, more than the NATS server takes",
                solution="Ask for less, or raise max_payload in the server's configuration.",
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
    served = NatsServices(
        app,
        connection,
        services,
        max_concurrent=max_concurrent,
        max_waiting=max_waiting,
        timeout=timeout,
        authenticate=authenticate,
        prefix=prefix,
    )
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


class _Refused(Exception):
    """A request that never reaches a handler."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.answer = _failed(code, message)


def _failed(code: str, message: str, *, solution: str = "") -> Answer:
    response = failure(code, message, solution=solution)
    return _failure_answer(response, code, _FAILURE_CODES[code])


def _failure_answer(response: Response, error: str, code: int) -> Answer:
    return Answer(data=response.SerializeToString(), error=error, error_code=code)


def _code_of(error: EskitError) -> str:
    """How a failure of the service is called on the wire."""
    match error:
        case InvalidArgument():
            return INVALID_REQUEST
        case OutOfTime():
            return HANDLER_TIMEOUT
        case CallFailed():
            return error.reason
    return error.code


def _rejection_answer(rejection: CommandRejected) -> Answer:
    response = failure(
        rejection.rejection,
        rejection.message,
        solution=rejection.solution,
        details=rejection.details,
    )
    name = rejection.rejection if rejection.rejection.isascii() else "REJECTED"
    return _failure_answer(response, " ".join(name.split()), _REJECTED)


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
