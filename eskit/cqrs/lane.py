"""Where requests of one kind are worked at: so many at once, so many more that wait, no more.

Commands and queries have a lane each, so that neither can take the other's place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from google.protobuf.message import Message

from eskit.clock import SYSTEM_CLOCK
from eskit.cqrs.deadline import unanswered
from eskit.cqrs.options import CallOptions, Pending, Reply
from eskit.cqrs.workers import Job, Workers
from eskit.domain.services import Method
from eskit.errors import OutOfTime, RequestTimeout, ServiceError
from eskit.slow import SlowCalls

_REMEMBERED = 10.0
_NEARLY_ALL = 0.98

Answering: TypeAlias = Callable[[Method, Message, CallOptions, Pending], None]
"""Answers a request through the pending it is given: now, or later and from another thread."""


class LaneFull(Exception):
    """As much is under way and waits as may."""


class LaneClosed(Exception):
    """The service is shutting down."""


class StillRunning(Exception):
    """The handler is at work, and who called waits no longer."""

    def __init__(self, method: Method, seconds: float | None) -> None:
        super().__init__(method.path)
        self.told: RequestTimeout = unanswered(method, seconds)


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
        self._workers = Workers(at_once, name=f"eskit-{kind}", slow=self._slow)
        self._present = 0
        self._under_way: dict[Job, Method] = {}
        self._turned_away_at = float("-inf")

    async def run(
        self,
        handle: Answering,
        method: Method,
        request: Message,
        options: CallOptions,
        *,
        within: float,
    ) -> Reply:
        """The reply; raises what the handler does.

        `within` is how long who calls waits, a little longer than the timeout of `options`.
        Raises LaneFull, and LaneClosed when no more is taken; OutOfTime when the handler was not
        begun in time, and StillRunning when it was.
        """
        loop = asyncio.get_running_loop()
        if self._present >= self._capacity:
            self._turned_away_at = loop.time()
            raise LaneFull
        end = SYSTEM_CLOCK.monotonic() + options.timeout
        try:
            job = self._workers.start(
                self._begin,
                *(handle, method, request, options, end),
                ended=self._leave,
                what=method.path,
            )
        except RuntimeError:
            raise LaneClosed from None
        self._present += 1
        self._under_way[job] = method
        late = loop.call_later(within, _give_up, job, method, within)
        try:
            reply: Reply = await job.future
        finally:
            late.cancel()
            del self._under_way[job]
        return reply

    def give_up(self) -> list[Method]:
        """Have all answered that are under way, as if their time were over; which they are."""
        methods = list(self._under_way.values())
        for job, method in self._under_way.items():
            _give_up(job, method, None)
        return methods

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
        """Take no more; what is at work goes on in threads that end with the process."""
        self._workers.close()

    def _begin(  # in a thread
        self,
        job: Job,
        handle: Answering,
        method: Method,
        request: Message,
        options: CallOptions,
        end: float,
    ) -> None:
        if not job.take_turn():
            job.fail(OutOfTime(method.path))  # it was given up, and nobody waits for it
            return
        left = end - SYSTEM_CLOCK.monotonic()
        if left <= 0:
            raise _no_turn(method)
        if left < _NEARLY_ALL * options.timeout:
            options = replace(options, timeout=left)
        handle(method, request, options, job)

    def _leave(self) -> None:
        self._present -= 1


def _give_up(job: Job, method: Method, seconds: float | None) -> None:
    if job.future.done():
        return
    begun = not job.take_turn()
    job.future.set_exception(StillRunning(method, seconds) if begun else _no_turn(method))


def _no_turn(method: Method) -> OutOfTime:
    return OutOfTime(
        f"{method.path} timed out in the queue; nothing was done",
        hint="Try again later: the service has more to do than it can.",
    )
