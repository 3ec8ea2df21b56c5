"""Threads of an event loop that the process does not wait for at its end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Lock
from typing import ParamSpec, TypeAlias, TypeVar

from eskit.clock import SYSTEM_CLOCK
from eskit.slow import SlowCalls

_Job: TypeAlias = tuple[str, Callable[[], object]]
_P = ParamSpec("_P")
_Result = TypeVar("_Result")


class LeavableThreads(ThreadPoolExecutor):
    """An executor whose threads end with the process, whatever they are at then.

    Those of the standard library are joined, by the event loop and by the interpreter: one function
    that hangs, and a process that was told to stop goes on. `slow` watches what the threads do.
    """

    def __init__(
        self,
        max_workers: int = 64,
        *,
        name: str = "eskit-thread",
        slow: SlowCalls | None = None,
    ) -> None:
        super().__init__(max_workers=1)  # it starts none of its own
        self._most = max_workers
        self._name = name
        self._slow = slow or SlowCalls(after=None)
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._mutex = Lock()
        self._started = 0
        self._present = 0

    def submit(
        self, fn: Callable[_P, _Result], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_Result]:
        """Call `fn` in a thread as soon as one is free."""
        return self.submit_as(self._name, fn, *args, **kwargs)

    def submit_as(
        self, what: str, fn: Callable[_P, _Result], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Future[_Result]:
        """The same; `what` it does, for people."""
        future: Future[_Result] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the future
                future.set_exception(error)
            else:
                future.set_result(result)

        self.do(what, work)
        return future

    def do(self, what: str, work: Callable[[], object]) -> None:
        """Do work that raises nothing in a thread as soon as one is free."""
        with self._mutex:
            self._present += 1
            begin = self._started < min(self._present, self._most)
            self._started += begin
        self._jobs.put((what, work))
        if begin:
            SYSTEM_CLOCK.start(self._run, name=f"{self._name}-{self._started}", daemon=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - as it is there
        """Let threads end that have nothing to do, and wait for none."""
        with self._mutex:
            for _ in range(self._started):
                self._jobs.put(None)

    def _run(self) -> None:
        in_hand: list[_Job | None] = [None]

        def describe() -> str:
            job = in_hand[0]
            return self._name if job is None else job[0]

        # A thread that has nothing to do is at something new whenever it is looked at.
        with self._slow.watching(describe, at=lambda: in_hand[0] or object()):
            while (job := self._jobs.get()) is not None:
                in_hand[0] = job
                job[1]()
                in_hand[0] = None
                del job  # or it would live on until the next one comes
                with self._mutex:
                    self._present -= 1
