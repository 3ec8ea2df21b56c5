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
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any


@dataclass(slots=True)
class _Job:
    future: asyncio.Future[Any]
    ended: Callable[[], object]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    result: Any = None
    error: BaseException | None = None


class Workers:
    """Up to `count` threads, started as they are needed. Used from one event loop.

    The threads end with the process, whatever they are at then.
    """

    def __init__(self, count: int, *, name: str) -> None:
        self._count = count
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: deque[_Job] = deque()
        self._loop_is_told = False
        self._threads = 0
        self._present = 0
        self._closed = False

    def run(
        self, function: Callable[..., Any], *arguments: Any, ended: Callable[[], object]
    ) -> asyncio.Future[Any]:
        """What `function` returns or raises, which runs as soon as a thread is free.

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
            threading.Thread(target=self._work, name=name, daemon=True).start()
        self._jobs.put(_Job(future, ended, function, arguments))
        return future

    def close(self) -> None:
        """Take no more work; a thread ends when there is none left of what was given before."""
        self._closed = True
        for _ in range(self._threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job.result = job.function(*job.arguments)
            except BaseException as error:  # noqa: BLE001 - handed to whoever awaits the future
                job.error = error
            self._done.append(job)
            if not self._loop_is_told:
                self._loop_is_told = True
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    job.future.get_loop().call_soon_threadsafe(self._deliver)
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
