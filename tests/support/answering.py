"""An app for services that answers whatever a test wants."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from google.protobuf.message import Message

from eskit.cqrs.answers import answered
from eskit.cqrs.options import CallOptions, Reply
from eskit.domain.services import Method


class FakeApp:
    """Answers with what a test says, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Any], Any] = lambda request: request) -> None:
        self.answer = answer
        self.calls: list[tuple[Method, Any, CallOptions]] = []

    def submit(
        self,
        method: Method,
        request: Message,
        options: CallOptions,
        executor: Executor | None = None,
    ) -> Future[Reply]:
        self.calls.append((method, request, options))
        return answered(lambda: Reply(message=self.answer(request), global_position=7))
