"""Answers that may come later, and the port of whatever gives them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Protocol

from google.protobuf.message import Message

from eskit.cqrs.options import CallOptions, Reply
from eskit.domain.services import Method


class Handles(Protocol):
    """What answers requests: an opened application."""

    def submit(
        self, method: Method, request: Message, options: CallOptions, executor: Executor | None
    ) -> Future[Reply]:
        """Answer one request: before this returns, or later.

        Without an executor the caller waits, and the future is done. With one no thread waits for
        a commit or a projection: what comes after that and takes long is given to the executor,
        and the callbacks of the future may be called in any thread, where they must not wait.
        """
        ...


def answered(function: Callable[..., Reply], *arguments: Any) -> Future[Reply]:
    """The future of a reply that is there at once: what `function` returns or raises."""
    answer = Future[Reply]()
    settle(answer, function, *arguments)
    return answer


def settle(answer: Future[Reply], function: Callable[..., Reply], *arguments: Any) -> None:
    """Give a future what `function` returns or raises."""
    try:
        reply = function(*arguments)
    except Exception as error:  # noqa: BLE001 - it is raised where the reply is asked for
        answer.set_exception(error)
    else:
        answer.set_result(reply)


def as_error(error: BaseException, what: str) -> Exception:
    """What would end a loop, a task or a thread is a fault like any other."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    fault = RuntimeError(f"{what} raised {type(error).__name__}")
    fault.__cause__ = error
    return fault
