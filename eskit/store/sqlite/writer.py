"""The one connection that writes, and the queue in front of it.

Callers share durable commits. Whoever finds nobody writing leads: it begins a transaction, runs
its own work and all that waits by then, commits once, and hands the lead to the next who waits. A
caller that is alone pays for none of it.

Work may also be submitted, to be told of later. Nobody waits for it who could lead: so who submits
and finds nobody writing leads on while such work comes first, and a caller that has led, and wants
to go on with its result, starts a thread that does.

A KeyboardInterrupt may come between any two lines of the main thread, and a RecursionError wherever
something is called. Work stays in the queue until it is done, handing over can be done twice, and
is left to a thread that neither comes to, so that nobody takes the lead with it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

from eskit.clock import Clock
from eskit.errors import StoreUnavailable
from eskit.store.appending import tell
from eskit.store.sqlite.commits import Committer
from eskit.store.sqlite.ticket import Ticket, Work

_MOST_AT_ONCE = 256
_PAUSE = 0.001  # seconds


class Writer:
    """Runs work in write transactions, one transaction after another. Thread-safe."""

    def __init__(self, committer: Committer, url: str, clock: Clock) -> None:
        self._clock = clock
        self._committer = committer
        self._url = url
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._waiting: deque[Ticket] = deque()
        self._leader: Ticket | None = None
        self._batch: list[Ticket] = []  # what the leader runs besides its own, still in the queue
        self._closed = False
        self._close_when_idle = False
        self._telling = 0  # the thread that is telling somebody of a commit, if one is

    def run(self, work: Work, request: Any = None) -> Any:
        """The result of `work` for `request`, delivered after its transaction is committed.

        What it raises is raised here, and then it has changed nothing.
        """
        ticket = Ticket(work, request)
        if self._is_telling():
            return self._run_within(ticket)
        try:
            if self._enter(ticket) or ticket.wait():
                self._lead(ticket)
        except StoreUnavailable:
            raise  # closed: it has not even queued up
        except BaseException:
            # Left to another thread, and by a single call: the next interrupt may be on its way,
            # or the stack used up.
            left: list[Ticket] = []
            try:
                start_new_thread(self._leave, (ticket, left))
            except RuntimeError:  # there can be no more threads
                self._leave(ticket, left)
            _wait_for(left, self._clock)
            raise
        return ticket.outcome()

    def submit(self, work: Work, request: Any, then: Callable[[Ticket], None]) -> None:
        """Have `work` run as `run` does, and `then` called with its ticket, in whichever thread.

        Either now or later, once; what `then` raises is logged.
        """
        ticket = Ticket(work, request, partial(tell, then))
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main and not _stack_is_deep():
            self._submit(ticket)
            return
        # Who leads tells others: not where an interrupt may come before that, or the stack end.
        # Imported here because it takes a millisecond, and the threads of a service do without.
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1, thread_name_prefix="eskit-writer") as elsewhere:
            elsewhere.submit(self._submit, ticket).result()

    def _submit(self, ticket: Ticket) -> None:
        try:
            if self._enter(ticket):
                self._lead_on(ticket)
        except BaseException:
            if self._leader is ticket:
                self._start_successor(ticket)
            raise

    def close(self) -> None:
        """Refuse new work, finish what waits, then close the connection; idempotent.

        Called by who is told of a commit, it returns at once, and the rest is done behind it.
        """
        with self._idle:
            self._closed = True
            if self._is_telling():
                self._close_when_idle = True
                return
            while self._leader is not None:
                self._idle.wait()
            self._committer.close()

    def _is_telling(self) -> bool:
        """Whether it is somebody told of a commit who calls, on the stack of who leads."""
        return self._telling != 0 and self._telling == threading.get_ident()

    def _run_within(self, ticket: Ticket) -> Any:
        """Commit at once: this thread leads, and would wait for itself in the queue."""
        if self._closed:
            raise self._is_closed()
        self._committer.commit([ticket], tuple)
        return ticket.outcome()

    def _is_closed(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self._url} is closed", hint="Open the store again.")

    def _enter(self, ticket: Ticket) -> bool:
        """Take the lead if nobody has it, else queue up."""
        with self._lock:
            if self._closed:
                raise self._is_closed()
            if self._leader is None:
                self._leader = ticket
                return True
            if ticket.then is None:
                ticket.close()
            self._waiting.append(ticket)
            return False

    def _leave(self, ticket: Ticket, left: list[Ticket]) -> None:
        """Withdraw work that nobody has taken, else wait for its verdict; lead no more."""
        try:
            if self._leader is not ticket and not self._withdraw(ticket):
                ticket.wait_for_verdict()
            self._hand_over(ticket)
        finally:  # whatever it is, the caller does not wait for ever
            left.append(ticket)

    def _withdraw(self, ticket: Ticket) -> bool:
        with self._lock:
            if ticket.leads or ticket in self._batch:
                return False
            with contextlib.suppress(ValueError):
                self._waiting.remove(ticket)
            return True

    def _lead(self, ticket: Ticket) -> None:
        """Commit what waits together with one's own, then hand the lead over."""
        if self._waiting:
            self._take(ticket)
        self._committer.commit([ticket, *self._batch], self._take_more)
        self._hand_over(ticket)

    def _lead_on(self, ticket: Ticket) -> None:
        """Commit what waits together with one's own, if that is to be done, until one may lead."""
        while True:
            if self._waiting:
                self._take(ticket)
            batch = self._batch if ticket.done else [ticket, *self._batch]
            if batch:
                self._committer.commit(batch, self._take_more)
            self._wake(ticket)
            self._settle()
            with self._lock:
                if self._pass_on():
                    return

    def _settle(self) -> None:
        """Wake all whose work is done, and take them out of the queue."""
        while self._waiting and self._waiting[0].done:
            self._wake(self._waiting.popleft())

    def _wake(self, ticket: Ticket) -> None:
        """Let a caller go on, or tell who is to be told."""
        self._telling = threading.get_ident()
        try:
            ticket.wake()
        finally:
            self._telling = 0

    def _take(self, ticket: Ticket) -> None:
        with self._lock:
            self._leader = ticket
            self._forget_first(ticket)
            self._batch = self._first_waiting()

    def _take_more(self) -> Sequence[Ticket]:
        """What came since the batch was taken, which is part of it from now on."""
        taken = len(self._batch)
        if len(self._waiting) == taken:
            return ()
        with self._lock:
            self._batch = self._first_waiting()
        return self._batch[taken:]

    def _first_waiting(self) -> list[Ticket]:
        """As many as one commit takes; none for a caller on whose stack they might not end."""
        if self._leader and self._leader.then is None and _stack_is_deep():
            return []
        return list(islice(self._waiting, _MOST_AT_ONCE - 1))

    def _hand_over(self, ticket: Ticket) -> None:
        """Wake those whose work is done, then the next who leads; does nothing for who does not.

        What is not done, because the leader was interrupted, waits on in its order.
        """
        if self._leader is not ticket:
            return
        # Woken before there is a new leader, they may have more work for its batch.
        for other in self._batch:
            if other.done and other.then is None:
                other.wake()
        with self._lock:
            if self._leader is not ticket:  # its heir, woken before an interrupt, leads by now
                return
            self._forget_first(ticket)
            while self._waiting and self._waiting[0].done and self._waiting[0].then is None:
                self._waiting.popleft()
            if self._pass_on():
                return
        self._start_successor(ticket)

    def _pass_on(self) -> bool:
        """Let the first who waits lead, or nobody; False if that one has no thread to do it with.

        Under the lock.
        """
        self._batch = []
        if not self._waiting:
            self._leader = None
            if self._closed:
                if self._close_when_idle:
                    self._committer.close()
                self._idle.notify_all()
            return True
        heir = self._waiting[0]
        if heir.then is not None:
            return False
        heir.leads = True
        heir.wake()
        self._leader = heir
        return True

    def _start_successor(self, ticket: Ticket) -> None:
        """Have a new thread succeed; more than one may be started, the first does."""
        try:
            self._clock.start(partial(self._succeed, ticket), name="eskit-writer", daemon=False)
        except RuntimeError:  # there can be no more threads
            self._succeed(ticket)

    def _succeed(self, ticket: Ticket) -> None:
        """Lead on in place of who led with `ticket`, unless that has ended."""
        own = Ticket(ticket.work, then=lambda _: None)
        own.finish(None)  # it has no work: only that of others is left
        with self._lock:
            if self._leader is not ticket:
                return
            self._leader = own
        self._settle()
        self._lead_on(own)

    def _forget_first(self, ticket: Ticket) -> None:
        """Who leads stands first in the queue until it begins."""
        if self._waiting and self._waiting[0] is ticket:
            self._waiting.popleft()


def _wait_for(left: list[Ticket], clock: Clock) -> None:
    """Wait until something is in the list; interrupts wait as well, for there is one already."""
    while not left:
        with contextlib.suppress(KeyboardInterrupt):
            clock.sleep(_PAUSE)


def _stack_is_deep() -> bool:
    """Whether half of what this thread's stack may hold is used."""
    try:
        sys._getframe(sys.getrecursionlimit() // 2)  # noqa: SLF001 - nothing else tells
    except ValueError:
        return False
    return True
