"""One caller's work on its way through the writer's queue."""

from __future__ import annotations

from _thread import LockType as Lock
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any, Protocol

from eskit.store.sqlite.transaction import Transaction

_LOOK_EVERY = 0.05  # seconds


class Work(Protocol):
    """What callers want done in a write transaction."""

    def __call__(self, transaction: Transaction, request: Any, /, *, again: bool) -> Any:
        """Do it for one request and return the result; the transaction is the writer's.

        `again` is True when an earlier try may have been committed after all: look first.
        """
        ...


class Ticket:
    """Work for one request, its outcome, and a latch that opens when the caller may go on.

    A caller that does not wait has no latch but something to be called `then`.
    """

    __slots__ = (
        "_latch",
        "_woken",
        "again",
        "done",
        "error",
        "leads",
        "request",
        "result",
        "then",
        "work",
    )

    _latch: Lock

    def __init__(
        self, work: Work, request: Any = None, then: Callable[[Ticket], None] | None = None
    ) -> None:
        self.work = work
        self.request = request
        self.then = then
        self.again = False
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None
        self.leads = False
        self._woken = False

    def close(self) -> None:
        """Shut the latch; only who has to wait needs one."""
        self._latch = allocate_lock()
        self._latch.acquire()

    def finish(self, result: Any, error: Exception | None = None) -> None:
        """Note the outcome; the caller is woken separately."""
        self.result = result
        self.error = error
        self.done = True

    def wake(self) -> None:
        """Let the caller go on, to take its outcome or to lead; idempotent."""
        if self._woken:
            return
        if self.then is None:
            try:  # noqa: SIM105 - done for every append, and this costs nothing
                self._latch.release()
            except RuntimeError:
                pass  # an interrupt came before the next line
            self._woken = True
        else:
            self._woken = True
            self.then(self)

    def wait(self) -> bool:
        """Wait until woken, whether to lead; may be interrupted."""
        self._latch.acquire()
        return self.leads

    def wait_for_verdict(self) -> None:
        """Wait until woken; in place of a caller that may have taken the latch already."""
        while not self._woken:
            self._latch.acquire(timeout=_LOOK_EVERY)

    def outcome(self) -> Any:
        """The result, or the error raised."""
        if self.error is not None:
            raise self.error
        return self.result
