"""The one connection that writes, and the queue in front of it.

Callers share durable commits. Whoever finds nobody writing leads: it runs its own work and all
that waits, commits once, and hands the lead to the next who waits. A caller
that is alone pays for none of it.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from eskit.errors import StoreUnavailable
from eskit.store.sqlite.commits import Committer
from eskit.store.sqlite.ticket import Ticket, Work

_MOST_AT_ONCE = 256


class Writer:
    """Runs work in write transactions, one transaction after another. Thread-safe."""

    def __init__(self, committer: Committer, url: str) -> None:
        self._committer = committer
        self._url = url
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._waiting: deque[Ticket] = deque()
        self._led = False
        self._closed = False

    def run(self, work: Work) -> Any:
        """The result of `work`, delivered after its transaction is committed.

        What it raises is raised here, and then it has changed nothing.
        """
        ticket = Ticket(work)
        if self._enter(ticket) or self._wait(ticket):
            self._lead(ticket)
        return ticket.outcome()

    def close(self) -> None:
        """Refuse new work, finish what waits, then close the connection; idempotent."""
        with self._idle:
            self._closed = True
            while self._led:
                self._idle.wait()
        self._committer.close()

    def _enter(self, ticket: Ticket) -> bool:
        """Take the lead if nobody has it, else queue up."""
        with self._lock:
            if self._closed:
                raise StoreUnavailable(f"{self._url} is closed", hint="Open the store again.")
            if not self._led:
                self._led = True
                return True
            ticket.close()
            self._waiting.append(ticket)
            return False

    def _wait(self, ticket: Ticket) -> bool:
        """Wait for the outcome or the lead; True for the lead.

        A caller interrupted before its work was taken withdraws it; afterwards the interrupt
        waits for the verdict.
        """
        try:
            ticket.wait()
        except BaseException:
            if self._withdraw(ticket):
                raise
            ticket.wait_through_interrupts()
            if ticket.leads:
                self._hand_over()
            raise
        return ticket.leads

    def _withdraw(self, ticket: Ticket) -> bool:
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                return True
            return False

    def _lead(self, ticket: Ticket) -> None:
        """Commit what waits together with one's own, then hand the lead over."""
        if not self._waiting:
            try:
                self._committer.commit_alone(ticket)
            finally:
                self._hand_over()
            return
        others = self._take()
        try:
            self._committer.commit([ticket, *others])
        finally:
            self._put_back([other for other in others if not other.done])
            # Woken before there is a new leader, they may have more work for its batch.
            for other in others:
                if other.done:
                    other.wake()
            self._hand_over()

    def _take(self) -> list[Ticket]:
        with self._lock:
            count = min(len(self._waiting), _MOST_AT_ONCE - 1)
            return [self._waiting.popleft() for _ in range(count)]

    def _put_back(self, others: list[Ticket]) -> None:
        """What has no outcome because the leader was interrupted waits on, in its order."""
        if others:
            with self._lock:
                self._waiting.extendleft(reversed(others))

    def _hand_over(self) -> None:
        with self._lock:
            if self._waiting:
                heir = self._waiting.popleft()
                heir.leads = True
                heir.wake()
            else:
                self._led = False
                if self._closed:
                    self._idle.notify_all()
