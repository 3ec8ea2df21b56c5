"""Take SQLite's memory away while appends share a transaction.

``python out_of_memory.py URL`` prints the error that each of them is told, of which there are ten
that wait together, and one that comes later.
"""

import os
import sqlite3
import sys
import threading

from eskit.clock import SystemClock
from eskit.domain.streams import ANY
from eskit.sqlite.url import sqlite_path
from eskit.testing.store_contract import texts
from tests.support.stores import sqlite_store

TOGETHER = 10


class Clock(SystemClock):
    """Holds the first append that reads it; whoever reads it next has no memory from then on."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()
        self._memory = sqlite3.connect(":memory:", check_same_thread=False)

    def microseconds(self) -> int:
        """The time."""
        if not self.arrived.is_set():
            self.arrived.set()
            self.opened.wait(20)
        else:
            # The pragma holds for the process, and only ever lowers the limit.
            self._memory.execute("PRAGMA hard_heap_limit = 1")
        return super().microseconds()


def say(*words: object) -> None:
    """A line for who started this."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main(url: str) -> None:
    """Append ten at once, and one after them."""
    clock = Clock()
    store = sqlite_store(sqlite_path(url), url, synchronous="NORMAL", clock=clock)
    store.submit("Account-first", texts("a"), expected_version=ANY)
    clock.arrived.wait(20)
    many = [
        store.submit(f"Account-{number}", texts("x" * 100_000), expected_version=ANY)
        for number in range(TOGETHER)
    ]
    clock.opened.set()
    for submitted in many:
        say(type(submitted.exception(20)).__name__)
    late = store.submit("Account-late", texts("b"), expected_version=ANY)
    say(type(late.exception(20)).__name__)
    os._exit(0)  # there is no memory to close the store with


if __name__ == "__main__":
    main(sys.argv[1])
