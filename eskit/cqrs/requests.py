"""Requests that come from elsewhere, whichever protocol brings them: read, bounded and answered."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from google.protobuf.message import DecodeError, Message

from eskit.cqrs import wire
from eskit.cqrs.answers import Handles
from eskit.cqrs.authorisation import Authenticator, nobody
from eskit.cqrs.deadline import with_time_to_answer
from eskit.cqrs.lane import Lane, LaneClosed, LaneFull, StillRunning
from eskit.cqrs.middleware import as_told, internal_error
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.refusals import Refusals
from eskit.cqrs.responses import (
    HANDLER_TIMEOUT,
    INVALID_MESSAGE_TYPE,
    INVALID_REQUEST,
    OVERLOADED,
    REQUEST_TOO_LARGE,
    UNAVAILABLE,
    as_rejection,
    failure,
)
from eskit.domain.messages import message_type
from eskit.domain.services import Method
from eskit.errors import CallFailed, CommandRejected, EskitError, InvalidArgument, OutOfTime
from eskit.leavable import LeavableThreads
from eskit.schema.response_pb2 import Response

_log = logging.getLogger("eskit.services")

_REMARKS_AT_MOST = 20


@runtime_checkable
class ChecksStore(Protocol):
    """What serves may also say whether its store can be written."""

    def check_store(self) -> None:
        """Raise StoreUnavailable if it cannot."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a request has no reply: what its sender may know, and whether rules or log said no."""

    code: str
    response: Response
    rejected: bool = False


class Requests:
    """Answers the requests that one way in brings, within its limits. Used from one event loop.

    Of commands and of queries at most `max_concurrent` run at once, in worker threads, and at most
    `max_waiting` wait for their turn; any more fail with OVERLOADED. A request that has not been
    answered within `timeout` seconds, or within the caller's deadline, fails with HANDLER_TIMEOUT;
    its handler runs on, and keeps its place until it is done. Larger requests than `max_request`
    bytes are refused. Callers learn the code of a rejection, and that of a store or read model
    that cannot answer now; of a fault only an id, under which the log has the rest.
    """

    def __init__(
        self,
        app: Handles,
        *,
        max_concurrent: int = 64,
        max_waiting: int = 1024,
        timeout: float = 30.0,
        max_request: int = 1024 * 1024,
        authenticate: Authenticator = nobody,
    ) -> None:
        self.max_request = max_request
        self._app = app
        self._check_store = app.check_store if isinstance(app, ChecksStore) else None
        self._timeout = timeout
        self._authenticate = authenticate
        self._lanes = {
            kind: Lane(kind, at_once=max_concurrent, waiting=max_waiting, hung_after=timeout)
            for kind in ("command", "query")
        }
        self._refusals = Refusals()
        self._remarks: set[str] = set()

    async def answer(
        self, method: Method, data: bytes, headers: wire.Headers, *, within: float | None = None
    ) -> Reply:
        """The reply to a request; raises whatever `explain` then puts into words.

        `within` is for how many seconds its sender waits, where the protocol says that; else the
        headers do.
        """
        request, options, within = self._read(method, data, headers, within)
        lane = self._lanes[method.kind]
        reply = await lane.run(self._app, method, request, options, within=within)
        self._refusals.answered(method, reply)
        return reply

    def explain(self, method: Method, error: Exception) -> Failure:
        """What its sender may know: a verdict as it is; of a fault an id, which the log has too."""
        try:
            return self._explain(method, error)
        except Exception as fault:  # noqa: BLE001 - what was raised may say nothing that can be sent
            told = internal_error(method, fault)
            return failed(told.reason, told.message, solution=told.hint)

    def give_up(self) -> None:
        """Have all that are under way fail with HANDLER_TIMEOUT, and say in the log which."""
        given_up = Counter(
            method.path for lane in self._lanes.values() for method in lane.give_up()
        )
        for path, count in given_up.items():
            _log.warning("Stopped while %d of %s were at work or waited", count, path)

    def close(self) -> None:
        """Take no more; running work continues in threads that end with the process."""
        for lane in self._lanes.values():
            lane.close()

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

    def _read(
        self, method: Method, data: bytes, headers: wire.Headers, within: float | None
    ) -> tuple[Message, CallOptions, float]:
        """The request, its options, and how long its sender waits.

        The method alone decides which type it has.
        """
        if len(data) > self.max_request:
            raise _Refused(
                REQUEST_TOO_LARGE,
                f"{len(data)} bytes are more than the {self.max_request} allowed",
            )
        self._remark(headers.check_names())
        expected = message_type(method.request)
        claimed = headers.get(wire.MESSAGE_TYPE, expected)
        if claimed != expected:
            raise _Refused(INVALID_MESSAGE_TYPE, f"{method.path} takes {expected}")
        try:
            request = method.request.FromString(data)
        except DecodeError:
            raise _Refused(INVALID_REQUEST, f"The body is not a {expected}") from None
        principal_id = self._authenticate(method, headers)
        if within is None:
            within = wire.time_to_wait(headers, self._timeout)
        within = min(within, self._timeout)
        in_time = with_time_to_answer(within)
        options = wire.call_options(headers, principal_id=principal_id, timeout=in_time)
        return request, options, within

    def _remark(self, remarks: Sequence[str]) -> None:
        """Say once in the log what is odd about the headers of requests."""
        for remark in remarks:
            if remark not in self._remarks and len(self._remarks) < _REMARKS_AT_MOST:
                self._remarks.add(remark)
                _log.warning("%s", remark)

    def _explain(self, method: Method, error: Exception) -> Failure:
        match error:
            case _Refused():
                return error.failure
            case LaneFull():
                return failed(OVERLOADED, "Too many requests at once", solution=_LATER)
            case LaneClosed():
                return failed(OVERLOADED, "The service is shutting down", solution=_LATER)
            case StillRunning():
                return failed(HANDLER_TIMEOUT, error.told.message, solution=error.told.hint)
        told = as_told(method, error)
        rejection = as_rejection(told)
        if rejection is not None:
            return _rejected(rejection)
        if told.code in UNAVAILABLE:
            # A middleware may already have put what may be told in place of what was raised.
            raised = (one for one in (error.__cause__, error) if isinstance(one, type(told)))
            self._refusals.add(method, next(raised, told))
        return failed(_code_of(told), told.message, solution=told.hint)


def failed(code: str, message: str, *, solution: str = "") -> Failure:
    """A failure of the service itself."""
    return Failure(code=code, response=failure(code, message, solution=solution))


class _Refused(Exception):
    """A request that never reaches a handler."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.failure = failed(code, message)


def _rejected(rejection: CommandRejected) -> Failure:
    response = failure(
        rejection.rejection,
        rejection.message,
        solution=rejection.solution,
        details=rejection.details,
    )
    return Failure(code=rejection.rejection, response=response, rejected=True)


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


_LATER = "Try again later."
