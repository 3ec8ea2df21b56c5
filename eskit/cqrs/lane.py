"""Where requests of one kind are worked at: so many at once, so many more that wait, no more.

Commands and queries have a lane each, so that neither can take the other's place.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from typing import ParamSpec, TypeVar

from google.protobuf.message import Message

from eskit.clock import SYSTEM_CLOCK
from eskit.cqrs.answers import Handles, as_error
from eskit.cqrs.deadline import unanswered
from eskit.cqrs.options import CallOptions, Reply
from eskit.domain.services import Method
from eskit.errors import OutOfTime, RequestTimeout, ServiceError
from eskit.leavable import LeavableThreads
from eskit.slow import SlowCalls

_P = ParamSpec("_P")
_Result = TypeVar("_Result")
_REMEMBERED = 10.0
_NEARLY_ALL = 0.98


class LaneFull(Exception):
    """As much is under way and waits as may."""


class LaneClosed(Exception):
    """The service is shutting down."""


class StillRunning(Exception):
    """The handler is at work, and who called waits no longer."""

    def __init__(self, method: Method, seconds: float | None) -> None:
        super().__init__(method.path)
        self.told: RequestTimeout = unanswered(method, seconds)


class _Asked(Executor):
    """A request under way, whose work is done in the threads of its lane, and watched there.

    The thread that begins it and whoever gives it up ask who is first.
    """

    def __init__(
        self, method: Method, reply: asyncio.Future[Reply], threads: LeavableThreads
    ) -> None:
        self.method = method
        self.reply = reply
        self._threads = threads
        self._turn = threading.Lock()

    def submit(
        self, fn: Callable[_P, _Result], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_Result]:
        """Do some of its work in a thread."""
        return self._threads.submit_as(self.method.path, fn, *args, **kwargs)

    def take_turn(self) -> bool:
        """Whether to begin it: once, for the first who asks."""
        return self._turn.acquire(blocking=False)

    def give_up(self, seconds: float | None) -> None:
        """Answer it, as its time is over."""
        if not self.reply.done():
            begun = not self.take_turn()
            why = StillRunning(self.method, seconds) if begun else _no_turn(self.method)
            self.reply.set_exception(why)


class Lane:
    """Runs requests of one kind in threads of its own. Used from one event loop.

    A request that waits for something besides a thread holds none.
    """

    def __init__(
        self, kind: str, *, at_once: int, waiting: int, hung_after: float | None = None
    ) -> None:
        """A handler that is at work after `hung_after` seconds is taken to be stuck."""
        self._kind = kind
        self._capacity = at_once + waiting
        self._slow = SlowCalls() if hung_after is not None else SlowCalls(after=None)
        self._hung_after = hung_after or 0.0
        self._threads = LeavableThreads(at_once, name=f"eskit-{kind}", slow=self._slow)
        self._closed = False
        self._present = 0
        self._under_way: set[_Asked] = set()
        self._answered: deque[tuple[_Asked, Future[Reply]]] = deque()
        self._loop_is_told = False
        self._turned_away_at = float("-inf")

    async def run(
        self,
        app: Handles,
        method: Method,
        request: Message,
        options: CallOptions,
        *,
        within: float,
    ) -> Reply:
        """The reply of the app; raises what it does.

        `within` is how long who calls waits, a little longer than the timeout of `options`.
        Raises LaneFull, and LaneClosed when no more is taken; OutOfTime when the handler was not
        begun in time, and StillRunning when it was.
        """
        if self._closed:
            raise LaneClosed
        loop = asyncio.get_running_loop()
        if self._present >= self._capacity:
            self._turned_away_at = loop.time()
            raise LaneFull
        asked = _Asked(method, loop.create_future(), self._threads)
        end = SYSTEM_CLOCK.monotonic() + options.timeout
        self._present += 1
        self._under_way.add(asked)
        begin = partial(self._begin, loop, asked, app, request, options, end)
        self._threads.do(method.path, partial(copy_context().run, begin))
        late = loop.call_later(within, asked.give_up, within)
        try:
            return await asked.reply
        finally:
            late.cancel()
            self._under_way.discard(asked)

    def give_up(self) -> list[Method]:
        """Have all answered that are under way, as if their time were over; which they are."""
        for asked in self._under_way:
            asked.give_up(None)
        return [asked.method for asked in self._under_way]

    def check_health(self) -> None:
        """Raise ServiceError when handlers hang or requests are turned away."""
        now = SYSTEM_CLOCK.now
        for call in self._slow.find():
            if (now - call.since).total_seconds() >= self._hung_after:
                raise ServiceError(
                    f"{call.text(now)}. It is here:\n{call.stack.rstrip()}",
                    hint="Restart the service when it does not end.",
                )
        since = asyncio.get_running_loop().time() - self._turned_away_at
        if self._present >= self._capacity or since < _REMEMBERED:
            raise ServiceError(
                f"More requests of kind {self._kind} come than can be answered; "
                f"{self._present:,} are here, of at most {self._capacity:,}"
            )

    def describe(self) -> str:
        """What takes longer than it should, in a few words; empty if nothing does."""
        now = SYSTEM_CLOCK.now
        return "; ".join(call.text(now) for call in self._slow.find())

    def close(self) -> None:
        """Take no more; running work continues in threads that end with the process."""
        self._closed = True
        self._threads.shutdown()

    def _begin(  # in a thread
        self,
        loop: asyncio.AbstractEventLoop,
        asked: _Asked,
        app: Handles,
        request: Message,
        options: CallOptions,
        end: float,
    ) -> None:
        try:
            answer = self._ask(asked, app, request, options, end)
        except BaseException as error:  # noqa: BLE001 - raised where the request came from
            answer = Future()
            answer.set_exception(as_error(error, asked.method.path))
        answer.add_done_callback(partial(self._tell, loop, asked))

    def _ask(
        self, asked: _Asked, app: Handles, request: Message, options: CallOptions, end: float
    ) -> Future[Reply]:
        left = end - SYSTEM_CLOCK.monotonic()
        if not asked.take_turn() or left <= 0:  # it was given up, or nearly
            raise _no_turn(asked.method)
        if left < _NEARLY_ALL * options.timeout:
            options = replace(options, timeout=left)
        # A command that is alone commits by itself, which wakes no other thread. A query never
        # waits here: what it waits for may take as long as it likes.
        waits = self._present == 1 and asked.method.kind == "command"
        return app.submit(asked.method, request, options, None if waits else asked)

    def _tell(  # in any thread
        self, loop: asyncio.AbstractEventLoop, asked: _Asked, answer: Future[Reply]
    ) -> None:
        self._answered.append((asked, answer))
        if not self._loop_is_told:  # a wake-up is a system call: answers share it
            self._loop_is_told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # In this order: who adds something after it was looked for tells the loop again.
        self._loop_is_told = False
        while self._answered:
            asked, answer = self._answered.popleft()
            self._present -= 1
            if asked.reply.done():
                continue
            if (error := answer.exception()) is not None:
                asked.reply.set_exception(as_error(error, asked.method.path))
            else:
                asked.reply.set_result(answer.result())


def _no_turn(method: Method) -> OutOfTime:
    return OutOfTime(
        f"{method.path} timed out in the queue; nothing was done",
        hint="Try again later: the service has more to do than it can.",
    )
