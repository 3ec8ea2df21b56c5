"""The one connection that writes, and the queue in front of it.

A caller that finds nobody at work commits by itself, and no other thread is needed. When more come
than that they queue up, and the writer's own thread commits together what waits. The thread ends
when nothing has come for a while, so that an idle store has none.

A KeyboardInterrupt may come between any two lines of the main thread, and a RecursionError wherever
something is called. Both end only what the caller has to itself: `with` gives its locks back, and
the work of several is only ever in the hands of the writer's thread, which gets neither.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, Protocol

from eskit.clock import Clock
from eskit.errors import StoreUnavailable
from eskit.store.write import SubmittedWrite, Work, Write

_MOST_AT_ONCE = 512
_LINGER = 0.1  # seconds


class Committer(Protocol):
    """The connection that writes. Used by one thread at a time."""

    def commit(self, batch: list[Write], newcomers: Callable[[], Iterable[Write]] = tuple) -> None:
        """Finish every write of the batch, to which newcomers are added once it has begun.

        Only an interrupt is raised, with nothing left open: then a batch of one may be committed.
        """
        ...

    def close(self) -> None:
        """Close the connection; idempotent."""
        ...


class Writer:
    """Runs work in write transactions, one transaction after another. Thread-safe."""

    def __init__(self, committer: Committer, url: str, clock: Clock) -> None:
        self._committer = committer
        self._url = url
        self._clock = clock
        self._queue = _Queue()
        self._finished: deque[Write] = deque()  # whose callers are not told yet
        self._connection = threading.Lock()  # held by who uses the committer
        self._turn = threading.Lock()  # held by the thread that works: more may have been started
        self._starting = threading.Lock()
        self._started = False
        self._crowded = False  # whether the last batch was of several
        self._closing = False
        self._closed = False
        self._thread = 0  # the thread that tells others of commits

    def run(self, work: Work | None, request: Any = None, find_result: Work | None = None) -> Any:
        """The result of `work` for `request`, delivered after its transaction is committed.

        What it raises is raised here, and then it has changed nothing. `find_result` looks for the
        result of an earlier try whose commit gave no answer; None if that has changed nothing.
        """
        write = Write(work, request, find_result)
        if self._is_quiet() or self._is_own_thread():
            self._commit(write)
        else:
            write.shut()
            try:
                if self._put(write):
                    self._clock.wait(write)
                else:
                    self._commit(write)
            except BaseException:
                self._give_up(write)
                raise
        return write.outcome()

    def submit(
        self, work: Work | None, request: Any, find_result: Work | None = None
    ) -> Future[Any]:
        """Have `work` run as `run` does, without waiting for its result."""
        write = SubmittedWrite(work, request, find_result, self._queue.withdraw)
        try:
            queued = self._put(write)
        except BaseException:
            self._give_up(write)
            raise
        if not queued:
            self._commit(write)
            write.tell()
        return write

    def close(self) -> None:
        """Refuse new work, finish what waits, then close the connection; idempotent."""
        self._closing = True
        self._queue.wake()
        if self._is_own_thread():  # it is telling somebody of a commit, who has called this
            self._drain()
        else:
            self._work()
        with self._connection:
            self._closed = True
            self._committer.close()

    def _is_quiet(self) -> bool:
        """Whether nobody writes or waits; it does no harm if several callers think so at once."""
        return not (self._crowded or self._queue.waiting or self._connection.locked())

    def _is_own_thread(self) -> bool:
        """Whether the writer's thread is the caller: it would wait for itself in the queue."""
        return self._thread == threading.get_ident()

    def _commit(self, write: Write) -> None:
        """Commit one write in the thread of its caller."""
        with self._connection:
            self._check_open()
            self._committer.commit([write])

    def _check_open(self) -> None:
        if self._closing:
            raise StoreUnavailable(f"{self._url} is closed", hint="Open the store again.")

    def _put(self, write: Write) -> bool:
        """Queue up; False if there can be no thread that would take it."""
        self._check_open()
        self._queue.put(write)
        # Looked at after that: a thread that ends looks at the queue last.
        return self._started or self._start() or not self._queue.withdraw(write)

    def _give_up(self, write: Write) -> None:
        """Withdraw what nobody has taken, else wait for its verdict."""
        if not self._queue.withdraw(write):
            write.wait_on()

    def _start(self) -> bool:
        with self._starting:
            if not self._started:
                self._start_thread()
        return self._started

    def _start_thread(self) -> None:
        try:
            self._started = True
            # No daemon: a program that ends waits for what was submitted.
            self._clock.start(self._work, name="eskit-writer", daemon=False)
        except RuntimeError:  # there can be no more threads, or the stack ends
            self._started = False
        except BaseException:
            self._started = False
            raise

    def _work(self) -> None:
        """Commit what comes until nothing does for a while, or until the store is closed."""
        with self._turn:
            self._work_in_turn()

    def _work_in_turn(self) -> None:
        try:
            self._thread = threading.get_ident()
            self._drain()
        finally:
            self._thread = 0

    def _drain(self) -> None:
        self._tell()  # the rest of a batch, when it is a callback that closes
        while self._has_work():
            batch = self._commit_together()
            self._crowded = len(batch) > 1
            self._finished.extend(batch)
            self._tell()

    def _tell(self) -> None:
        while self._finished:
            self._finished.popleft().tell()

    def _has_work(self) -> bool:
        """Wait for the next write; False if none comes."""
        if not self._closing:
            self._clock.wait(self._queue, _LINGER)
        if not self._queue.waiting:
            self._started = self._crowded = False
        return bool(self._queue.waiting)

    def _commit_together(self) -> list[Write]:
        """Finish what waits in one transaction; what comes while it begins joins it."""
        queue, batch = self._queue, list[Write]()
        try:
            with self._connection:
                batch += queue.take(_MOST_AT_ONCE)
                if self._closed:  # it came too late to be refused
                    self._check_open()
                self._committer.commit(batch, lambda: queue.take(_MOST_AT_ONCE - len(batch)))
        except BaseException as error:  # noqa: BLE001 - raised where the work came from
            for write in batch:
                if not write.finished:
                    write.fail(self._unfinished(error))
        return batch

    def _unfinished(self, error: BaseException) -> Exception:
        if isinstance(error, Exception):
            return error
        unknown = StoreUnavailable(
            f"Writing to {self._url} was interrupted",
            hint="Look whether it was written before you write it again.",
        )
        unknown.__cause__ = error
        return unknown


class _Queue:
    """Writes that wait, in their order, and a bell for the one thread that takes them."""

    def __init__(self) -> None:
        self.waiting: deque[Write] = deque()
        self._taking = threading.Lock()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._is_awaited = False

    def put(self, write: Write) -> None:
        """Add a write."""
        self.waiting.append(write)
        if self._is_awaited:
            self.wake()

    def take(self, most: int) -> list[Write]:
        """The first writes, which can be withdrawn no more."""
        waiting = self.waiting
        if not waiting:
            return []
        with self._taking:
            taken = [waiting.popleft() for _ in range(min(most, len(waiting)))]
            for write in taken:
                write.taken = True
        return taken

    def withdraw(self, write: Write) -> bool:
        """Remove a write unless it was taken, and then return False."""
        with self._taking, contextlib.suppress(ValueError):
            self.waiting.remove(write)
        return not write.taken

    def wake(self) -> None:
        """Let the thread that waits look."""
        with contextlib.suppress(RuntimeError):  # somebody has just done so
            self._bell.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is a write, or until woken; False when the time is over."""
        self._is_awaited = True
        found = self.is_set() or self._bell.acquire(timeout=-1 if timeout is None else timeout)
        self._is_awaited = False
        return found

    def is_set(self) -> bool:
        """Whether there is a write."""
        return bool(self.waiting)
