"""Threads that work for an event loop, at little cost for each piece of work.

Every request of a service goes to a thread and back. The executor of the standard library makes
two futures of it and wakes the loop by a system call for each result; here the results that are
there when the loop comes round share one wake-up.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from eskit.clock import SYSTEM_CLOCK
from eskit.slow import SlowCalls


async def in_thread(function: Callable[[], object]) -> None:
    """Call a function that may hang in a thread of its own, and return when it has.

    Unlike those of asyncio the thread ends with the process, whatever it is at then.
    """
    workers = Workers(1, name="eskit-check")
    try:
        await workers.run(lambda job: job.answer(function()), ended=lambda: None)
    finally:
        workers.close()


class Job:
    """One piece of work, until it is answered: by its thread, or by another one later."""

    __slots__ = (
        "_turn",
        "_workers",
        "arguments",
        "ended",
        "error",
        "function",
        "future",
        "result",
        "what",
    )

    def __init__(
        self,
        workers: Workers,
        future: asyncio.Future[Any],
        ended: Callable[[], object],
        function: Callable[..., object],
        arguments: tuple[Any, ...],
        what: str,
    ) -> None:
        self._workers = workers
        self._turn = threading.Lock()
        self.future = future
        self.ended = ended
        self.function = function
        self.arguments = arguments
        self.what = what
        self.result: Any = None
        self.error: Exception | None = None

    def answer(self, result: Any) -> None:
        """End it with a result; once."""
        self.result = result
        self._workers.finish(self)

    def fail(self, error: BaseException) -> None:
        """End it with an error instead.

        What would end a loop, a task or a thread is a fault like any other.
        """
        if not isinstance(error, Exception) or isinstance(error, StopIteration):
            fault = RuntimeError(f"{self.what} raised {type(error).__name__}")
            fault.__cause__ = error
            error = fault
        self.error = error
        self._workers.finish(self)

    def run(self, function: Callable[[], Any]) -> None:
        """Have it answered with what `function` returns, in one of the threads.

        None is no answer: then it is answered later.
        """
        self.function, self.arguments = _answer_with, (function,)
        self._workers.add(self)

    def take_turn(self) -> bool:
        """Whether to begin it: once, for the first who asks, its thread or who gave it up."""
        return self._turn.acquire(blocking=False)


def _answer_with(job: Job, function: Callable[[], Any]) -> None:
    result = function()
    if result is not None:
        job.answer(result)


class Workers:
    """Up to `count` threads, started as they are needed. Used from one event loop.

    The threads end with the process, whatever they are at then. `slow` watches what they do.
    """

    def __init__(self, count: int, *, name: str, slow: SlowCalls | None = None) -> None:
        self._count = count
        self._name = name
        self._slow = slow or SlowCalls(after=None)
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._done: deque[Job] = deque()
        self._loop_is_told = False
        self._threads = 0
        self._present = 0
        self._closed = False

    def run(
        self, function: Callable[..., object], *arguments: Any, ended: Callable[[], object]
    ) -> asyncio.Future[Any]:
        """What the job is answered with that `function` is given, as `start` says."""
        return self.start(function, *arguments, ended=ended).future

    def start(
        self,
        function: Callable[..., object],
        *arguments: Any,
        ended: Callable[[], object],
        what: str = "",
    ) -> Job:
        """A job that `function` is given as soon as a thread is free, to answer it.

        `what` is what it does, for people.

        The job may be answered after `function` has returned; until then it counts as one of
        `count`, although no thread is busy with it. What `function` raises is the job's error.
        `ended` is called on the loop when it has run, also when the future was settled by
        somebody else before. Raises RuntimeError after `close`.
        """
        if self._closed:
            raise RuntimeError(f"{self._name} takes no more work")
        future = asyncio.get_running_loop().create_future()
        self._present += 1
        if self._threads < min(self._present, self._count):
            self._threads += 1
            name = f"{self._name}-{self._threads}"
            SYSTEM_CLOCK.start(self._work, name=name, daemon=True)
        job = Job(self, future, ended, function, arguments, what or self._name)
        self.add(job)
        return job

    def add(self, job: Job) -> None:
        """Let a thread work at a job; from any thread."""
        self._jobs.put(job)

    def finish(self, job: Job) -> None:
        """Tell who awaits a job that it has ended; from any thread."""
        self._done.append(job)
        if not self._loop_is_told:
            self._loop_is_told = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                job.future.get_loop().call_soon_threadsafe(self._deliver)

    def close(self) -> None:
        """Take no more work; a thread ends when there is none left of what was given before."""
        self._closed = True
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        in_hand: list[Job | None] = [None]

        def describe() -> str:
            job = in_hand[0]
            return job.what if job is not None else self._name

        # A thread that has nothing to do is at something new whenever it is looked at.
        with self._slow.watching(describe, at=lambda: in_hand[0] or object()):
            while (job := self._jobs.get()) is not None:
                in_hand[0] = job
                try:
                    job.function(job, *job.arguments)
                except BaseException as error:  # noqa: BLE001 - handed to who awaits the future
                    job.fail(error)
                in_hand[0] = None
                del job  # or it would live on until the next one comes

    def _deliver(self) -> None:
        # In this order: who adds something after it was looked for tells the loop again.
        self._loop_is_told = False
        while self._done:
            job = self._done.popleft()
            self._present -= 1
            job.ended()
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
