"""One caller's work on its way to the disk, and how the caller learns what came of it."""

from __future__ import annotations

import logging
from _thread import LockType as Lock
from _thread import allocate_lock
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias

_log = logging.getLogger("eskit.store")
_LOOK_EVERY = 0.05  # seconds

Work: TypeAlias = Callable[[Any, Any], Any]
"""What is to be done in a transaction, which is the committer's, for a request; its result."""


class Write:
    """Work for one request, its outcome, and a latch for the caller that waits for it.

    A committer that knows what to do with a request needs no `work` for it.
    `find_result` looks for the result of an earlier try and returns None if there is none.
    `unresolved` says that an earlier try may have been committed although its commit failed.
    """

    __slots__ = (
        "_error",
        "_find_result",
        "_latch",
        "_outcome",
        "_told",
        "_work",
        "finished",
        "request",
        "taken",
        "unresolved",
    )

    _latch: Lock

    def __init__(
        self, work: Work | None, request: Any = None, find_result: Work | None = None
    ) -> None:
        self._work = work
        self.request = request
        self._find_result = find_result
        self._outcome: Any = None
        self._error: Exception | None = None
        self._told = False
        self.taken = False
        self.finished = False
        self.unresolved = False

    def run(self, transaction: Any) -> Any:
        """Do the work, unless an earlier try has done it; returns its result."""
        if self.unresolved and self._find_result is not None:
            result = self._find_result(transaction, self.request)
            if result is not None:
                return result
        return self._work(transaction, self.request) if self._work is not None else None

    def succeed(self, result: Any) -> None:
        """Keep the result, which is committed."""
        self._outcome = result
        self.finished = True

    def fail(self, error: Exception) -> None:
        """Keep the error, with which nothing was changed."""
        self._error = error
        self.finished = True

    def outcome(self) -> Any:
        """The result, or the error raised."""
        if self._error is not None:
            raise self._error
        return self._outcome

    def shut(self) -> None:
        """Shut the latch before another thread gets it; who commits for itself needs none."""
        self._latch = allocate_lock()
        self._latch.acquire()

    def tell(self) -> None:
        """Let the caller go on; once."""
        self._told = True
        self._latch.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until told; may be interrupted."""
        return self._latch.acquire(timeout=-1 if timeout is None else timeout)

    def is_set(self) -> bool:
        """Whether the caller may go on."""
        return self._told

    def wait_on(self) -> None:
        """Wait until told, after an interrupt that may have come when the latch was taken."""
        while not self._told:
            self._latch.acquire(timeout=_LOOK_EVERY)


class SubmittedWrite(Write, Future[Any]):
    """Work that nobody waits for, and the future of its result.

    One object: two that know of each other would be left to the garbage collector.
    """

    def __init__(
        self,
        work: Work | None,
        request: Any,
        find_result: Work | None,
        withdraw: Callable[[Write], bool],
    ) -> None:
        Write.__init__(self, work, request, find_result)
        Future.__init__(self)
        self._withdraw = withdraw

    def cancel(self) -> bool:
        """Withdraw it; False if it was taken from the queue."""
        return self._withdraw(self) and super().cancel()

    def tell(self) -> None:
        """Give the future its result or error, and call what was added to it."""
        try:
            if self._error is None:
                self.set_result(self._outcome)
            else:
                self.set_exception(self._error)
        except BaseException:  # noqa: BLE001 - SystemExit too: it is not this thread that is meant
            _log.exception("A callback failed after its append was committed")

    def wait_on(self) -> None:
        """Wait until the future is done."""
        self.exception()
