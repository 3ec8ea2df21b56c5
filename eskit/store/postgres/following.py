"""Noticing what other processes append: one LISTEN for each store that somebody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import psycopg
from psycopg import sql

from eskit.clock import Clock
from eskit.errors import EskitError
from eskit.postgres.connection import Connection

_LOOK_EVERY = 0.5
_RETRY_AFTER = 1.0


class Listener:
    """A thread that listens while the store is open, and calls `notify` for each notification.

    It begins with the first call of `start`. A connection that dies is opened again, and then
    `notify` is called, for what was missed. A standby cannot be listened to: who waits there polls.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        channel: str,
        notify: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._connect = connect
        self._channel = channel
        self._notify = notify
        self._clock = clock
        self._lock = threading.Lock()
        self._started = False
        self._stop = threading.Event()
        self.listening = False
        """Whether notifications arrive right now."""

    def start(self) -> None:
        """Begin to listen; idempotent."""
        with self._lock:
            if not self._started and not self._stop.is_set():
                self._started = True
                self._clock.start(self._listen, name="eskit-listener", daemon=True)

    def stop(self) -> None:
        """End soon; idempotent."""
        self._stop.set()

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
                    self.listening = True
                    self._notify()  # for what came before, or while nobody listened
                    self._pass_on(connection)
            except (psycopg.Error, EskitError):
                self.listening = False
                self._clock.wait(self._stop, _RETRY_AFTER)
        self.listening = False

    def _pass_on(self, connection: Connection) -> None:
        while not self._stop.is_set():
            for _ in connection.notifies(timeout=_LOOK_EVERY, stop_after=1):
                self._notify()
