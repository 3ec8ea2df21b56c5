"""Layers around every request of an app, whichever way it came in.

A middleware is a function that is given a `Call` and what comes after it. It may look at the call,
change it, refuse it by raising CommandRejected, or look at the reply. ``App(middleware=[…])`` runs
the first of the list outermost; in process, over NATS and for commands of reactions alike.

    def only_small(call: Call, proceed: Proceed) -> Reply:
        if call.request.ByteSize() > 1000:
            raise CommandRejected("TOO_LARGE", "At most 1000 bytes")
        return proceed(call)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from google.protobuf.message import Message

from eskit.clock import SYSTEM_CLOCK
from eskit.cqrs.options import CallOptions, Reply
from eskit.cqrs.responses import INTERNAL_ERROR, VERDICTS, as_rejection, as_unavailable
from eskit.domain.ids import new_id
from eskit.domain.services import Method
from eskit.errors import CallFailed, CommandRejected, EskitError, InvalidArgument, OutOfTime
from eskit.raised import error_traceback

_log = logging.getLogger("eskit.calls")
_TOLD_AS_IT_IS: tuple[type[EskitError], ...] = (*VERDICTS, InvalidArgument, OutOfTime)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request on its way to its handler."""

    method: Method
    request: Message
    options: CallOptions


Proceed: TypeAlias = Callable[[Call], Reply]
"""What comes after a middleware: the next one, or the handler."""

Middleware: TypeAlias = Callable[[Call, Proceed], Reply]
"""One layer. It is called in worker threads, for several requests at once."""


def chain(middleware: Sequence[Middleware], handle: Proceed) -> Proceed:
    """`handle` behind all of `middleware`, the first of them outermost."""
    for layer in reversed(middleware):
        handle = partial(_run, layer, handle)
    return handle


def _run(layer: Middleware, proceed: Proceed, call: Call) -> Reply:
    return layer(call, proceed)


def log_calls(call: Call, proceed: Proceed) -> Reply:
    """Log each call on logger ``eskit.calls``: method, who, how long, how it ended; no payload."""
    begun = SYSTEM_CLOCK.monotonic()
    outcome = "failed"
    try:
        reply = proceed(call)
        outcome = "repeated" if reply.already_processed else "ok"
        return reply
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


def recover(call: Call, proceed: Proceed) -> Reply:
    """Turn a fault into CallFailed with an id, under which the log has the traceback.

    An error that says that a store or read model cannot answer now keeps its class, with a message
    without ids and paths. Rejections, conflicts, taken claims, wrong arguments and timeouts pass
    unchanged. Clients always get this, over NATS and in process; put this middleware outermost to
    have it for calls of the app itself.
    """
    try:
        return proceed(call)
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

    def check(call: Call, proceed: Proceed) -> Reply:
        checking = known.get(type(call.request))
        problems = dict(checking(call.request)) if checking is not None else {}
        if problems:
            raise CommandRejected(
                "VALIDATION_FAILED",
                "; ".join(f"{name}: {problem}" for name, problem in problems.items()),
                solution=f"Correct {', '.join(problems)}.",
                details=problems,
            )
        return proceed(call)

    return check


def trace(span: Callable[[Call], AbstractContextManager[Any]]) -> Middleware:
    """Run each call within the context that `span` opens for it: a hook for any tracing library.

    The caller's W3C trace context is in ``call.options.traceparent``.
    """

    def traced(call: Call, proceed: Proceed) -> Reply:
        with span(call):
            return proceed(call)

    return traced
