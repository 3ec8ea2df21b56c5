"""Sessions of threads that write, and the locks of projections in them."""

from __future__ import annotations

import threading
from collections.abc import Callable

from eskit.errors import ReadModelUnavailable, StoreUnavailable
from eskit.postgres.connection import Connection
from eskit.postgres.lock import LockSession, SessionLock
from eskit.projections.postgres.session import NOTHING_THERE

_LOOK_EVERY = 0.05


class _Session:
    """A session and how many locks and open read models it has; it ends with the last."""

    def __init__(self, session: LockSession) -> None:
        self.session = session
        self.is_written = False
        self.uses = 0

    def use(self) -> None:
        self.uses += 1

    def let_go(self) -> None:
        self.uses -= 1
        if not self.uses:
            self.session.close()


class WritingSessions:
    """The session of each thread; what else a thread opens meanwhile has one of its own."""

    def __init__(self, make: Callable[[], LockSession]) -> None:
        self._make = make
        self._threads = threading.local()

    def current(self) -> _Session:
        """That of this thread."""
        found: _Session | None = getattr(self._threads, "session", None)
        if found is None or not found.uses:
            found = self._threads.session = _Session(self._make())
        return found

    def open(self) -> tuple[Connection, Callable[[], None]]:
        """A connection to write on, with the locks of this thread if it has none open yet.

        What comes with it lets go of it; once more is harmless.
        """
        session = self.current()
        if session.is_written:
            session = _Session(self._make())
        session.use()
        session.is_written = True

        def let_go() -> None:
            if session.is_written:
                session.is_written = False
                session.let_go()

        try:
            return session.session.connection(), let_go
        except BaseException:
            let_go()
            raise


class PostgresLock:
    """A lock of a projection, see `eskit.projections.port.Lock`; `asking` never connects."""

    def __init__(self, sessions: WritingSessions, name: str, *, asking: LockSession) -> None:
        self._sessions = sessions
        self._name = name
        self._asking = asking
        self._session: _Session | None = None
        self._lock: SessionLock | None = None

    def acquire(self, *, patience: float = 0.0) -> bool:
        """Take a lock of the session of this thread."""
        self.release()
        session = self._sessions.current()
        if not session.uses and not self._wait_until_free(patience):
            return False  # without a connection, for each of many threads that only try
        lock = session.session.lock(self._name)
        session.use()
        try:
            if lock.acquire(patience=patience):
                self._session, self._lock = session, lock
                return True
        except StoreUnavailable as error:
            raise ReadModelUnavailable(error.message, hint=error.hint) from error
        finally:
            if self._lock is not lock:
                session.let_go()
        return False

    def _wait_until_free(self, patience: float) -> bool:
        deadline = self._asking.clock.monotonic() + patience
        while self.find_note() is not None:
            if self._asking.clock.monotonic() >= deadline:
                return False
            self._asking.clock.sleep(_LOOK_EVERY)
        return True

    def release(self) -> None:
        """Unlock."""
        if self._session is not None and self._lock is not None:
            self._lock.release()
            self._session.let_go()
        self._session = self._lock = None

    def is_held(self) -> bool:
        """Whether its session lives."""
        return self._lock is not None and self._lock.is_held()

    def write(self, note: str) -> None:
        """Write into the table of holders."""
        if self._lock is not None:
            self._lock.write(note)

    def find_note(self) -> str | None:
        """Ask the server who has it."""
        try:
            return self._asking.lock(self._name).find_note()
        except ReadModelUnavailable as error:
            if isinstance(error.__cause__, NOTHING_THERE):
                return None
            raise
