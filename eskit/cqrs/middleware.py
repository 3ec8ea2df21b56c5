"""Layers around every request of an app, whichever way it came in.

A middleware is a generator function. It is given a `Call`, yields what the handler is to get, which
it may change, and continues when the reply is there: ``reply = yield call``. It may refuse the call
by raising CommandRejected. Errors of the handler are raised where it yields. It returns the reply,
or nothing to leave it unchanged. ``App(middleware=[…])`` runs the first of the list outermost; in
process, over NATS and for commands of reactions alike.

    def only_small(call: Call) -> Passage:
        if call.request.ByteSize() > 1000:
            raise CommandRejected("TOO_LARGE", "At most 1000 bytes")
        yield call

The reply may come long after and in another thread, which others need: what comes after the `yield`
must not wait. Context variables are the same before and after it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.message import Message

from eskit.clock import SYSTEM_CLOCK
from eskit.cqrs.answers import answered, as_error, settle
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.responses import (
    INTERNAL_ERROR,
    VALIDATION_FAILED,
    VERDICTS,
    as_rejection,
    as_unavailable,
)
from eskit.domain.ids import new_id
from eskit.domain.services import Method
from eskit.errors import CallFailed, CommandRejected, EskitError, InvalidArgument, OutOfTime
from eskit.raised import error_traceback, is_ctrl_c

_log = logging.getLogger("eskit.calls")
_TOLD_AS_IT_IS: tuple[type[EskitError], ...] = (*VERDICTS, InvalidArgument, OutOfTime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request on its way to its handler."""

    method: Method
    request: Message
    options: CallOptions


Passage: TypeAlias = Generator[Call, Reply, Any]
"""One call on its way through a middleware, which returns a Reply or nothing."""

Middleware: TypeAlias = Callable[[Call], Passage]
"""One layer. It is called in worker threads, for several requests at once."""


def pass_through(
    middleware: Sequence[Middleware], handle: Callable[[Call], Future[Reply]], call: Call
) -> Future[Reply]:
    """The answer of `handle` behind all of `middleware`, the first of them outermost."""
    if middleware:
        return _Passing(handle).enter(middleware, call)
    try:
        return handle(call)
    except Exception as error:  # noqa: BLE001 - it is raised where the reply is asked for
        return _failed(error)


class _Passing:
    """One call between the layers that it has entered and not left."""

    __slots__ = ("_answer", "_context", "_entered", "_handle")

    def __init__(self, handle: Callable[[Call], Future[Reply]]) -> None:
        self._handle = handle
        self._context = copy_context()
        self._entered: list[Passage] = []
        self._answer = Future[Reply]()

    def enter(self, middleware: Sequence[Middleware], call: Call) -> Future[Reply]:
        """Go inwards; the way back begins when the handler has answered."""
        self._context.run(self._go_inwards, middleware, call).add_done_callback(self._leave)
        return self._answer

    def _go_inwards(self, middleware: Sequence[Middleware], call: Call) -> Future[Reply]:
        for layer in middleware:
            try:
                passage = layer(call)
                call = next(passage)
            except StopIteration as ended:
                return answered(_reply_of, layer, ended.value)
            except Exception as error:  # noqa: BLE001 - the layers outside may handle it
                return _failed(error)
            self._entered.append(passage)
        try:
            return self._handle(call)
        except Exception as error:  # noqa: BLE001 - the same
            return _failed(error)

    def _leave(self, inner: Future[Reply]) -> None:
        settle(self._answer, self._context.run, self._go_outwards, inner)

    def _go_outwards(self, inner: Future[Reply]) -> Reply:
        error = inner.exception()
        reply = None if error else inner.result()
        while self._entered:
            passage = self._entered.pop()
            try:
                reply, error = _resume(passage, reply, error), None
            except Exception as raised:  # noqa: BLE001 - the layers outside may handle it
                reply, error = None, raised
        if reply is None:
            raise error or RuntimeError("There is no reply")
        return reply


def _resume(passage: Passage, reply: Reply | None, error: BaseException | None) -> Reply:
    """What one layer makes of the reply, or of the error, of the next."""
    try:
        if reply is not None:
            passage.send(reply)
        else:
            passage.throw(error or RuntimeError("There is no reply"))
    except StopIteration as ended:
        return _reply_of(passage, ended.value or reply)
    except BaseException as raised:
        if isinstance(raised, Exception) or is_ctrl_c(raised):
            raise
        raise as_error(raised, _name_of(passage)) from raised
    passage.close()
    raise RuntimeError(f"{_name_of(passage)} yields more than once")


def _reply_of(layer: Any, returned: object) -> Reply:
    if isinstance(returned, Reply):
        return returned
    raise RuntimeError(f"{_name_of(layer)} returned no Reply, and none came from the handler")


def _name_of(layer: Any) -> str:
    return getattr(layer, "__qualname__", repr(layer))


def _failed(error: Exception) -> Future[Reply]:
    answer = Future[Reply]()
    answer.set_exception(error)
    return answer


def log_calls(call: Call) -> Passage:
    """Log each call on logger ``eskit.calls``: method, who, how long, how it ended; no payload."""
    begun = SYSTEM_CLOCK.monotonic()
    outcome = "failed"
    try:
        reply = yield call
        outcome = "repeated" if reply.already_processed else "ok"
    except Exception as error:
        rejection = as_rejection(error)
        outcome = f"rejected {rejection.rejection}" if rejection else type(error).__name__
        raise
    finally:
        _log.info(
            "%s command=%s principal=%s tenant=%s %.1f ms: %s",
            call.method.path,
            call.options.command_id or "-",
            call.options.principal_id or "-",
            call.options.tenant or "-",
            (SYSTEM_CLOCK.monotonic() - begun) * 1000,
            outcome,
        )


def recover(call: Call) -> Passage:
    """Turn a fault into CallFailed with an id, under which the log has the traceback.

    An error that says that a store or read model cannot answer now keeps its class, with a message
    without ids and paths. Rejections, conflicts, taken claims, wrong arguments and timeouts pass
    unchanged. Clients always get this, over NATS and in process; put this middleware outermost to
    have it for calls of the app itself.
    """
    try:
        yield call
    except Exception as error:
        told = as_told(call.method, error)
        if told is error:
            raise
        raise told from error


def as_told(method: Method, error: Exception) -> EskitError:
    """What a caller may know of anything that was raised; of a fault the log has the rest."""
    if isinstance(error, _TOLD_AS_IT_IS):
        return error
    if isinstance(error, CallFailed) and error.reason == INTERNAL_ERROR:
        return error  # a layer further in has already put it in place of what happened
    return as_unavailable(error) or internal_error(method, error)


def internal_error(method: Method, error: Exception) -> CallFailed:
    """What a caller may know of a fault: an id. The rest is logged under it."""
    error_id = new_id()
    _log.error("%s failed, error id %s\n%s", method.path, error_id, error_traceback(error))
    return CallFailed(
        INTERNAL_ERROR,
        f"Internal error {error_id}",
        hint="Give this id to whoever runs the service.",
    )


def validate(checks: Mapping[type[Message], Callable[[Any], Mapping[str, str]]]) -> Middleware:
    """Check requests before their handlers see them.

    A check gets the message and returns the problems by field. If there is one, the call is
    rejected with VALIDATION_FAILED and the fields as details.
    """
    known = dict(checks)

    def check(call: Call) -> Passage:
        checking = known.get(type(call.request))
        problems = dict(checking(call.request)) if checking is not None else {}
        if problems:
            raise CommandRejected(
                VALIDATION_FAILED,
                "; ".join(f"{name}: {problem}" for name, problem in problems.items()),
                solution=f"Correct {', '.join(problems)}.",
                details=problems,
            )
        yield call

    return check


def trace(span: Callable[[Call], AbstractContextManager[Any]]) -> Middleware:
    """Run each call within the context that `span` opens for it: a hook for any tracing library.

    The caller's W3C trace context is in ``call.options.traceparent``.
    """

    def traced(call: Call) -> Passage:
        with span(call):
            yield call

    return traced
